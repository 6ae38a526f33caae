"""Sentences about webhooks and Python hooks."""

from server.messages.language import Texts

SENTENCES: dict[str, Texts] = {
    "webhook_not_found": ("没有该 Webhook", "There is no such webhook"),
    "delivery_not_found": ("没有该投递记录", "There is no such delivery"),
    "too_many_webhooks": (
        "Webhook 数量已达上限 {limit} 个，请先移除不用的",
        "An owner may have at most {limit} webhooks; remove one that is not needed",
    ),
    "webhook_removed": ("Webhook 已移除", "The webhook was removed"),
    "webhook_tested": (
        "测试消息已排队，结果见投递记录",
        "A test message is queued; its result will be in the list of deliveries",
    ),
    "refused_by_hook": ("上传被拒绝：{explanation}", "The upload was refused: {explanation}"),
    # Warnings when a webhook is added
    "webhook_plain": (
        "地址使用 http：消息未加密，路径上的任何人都能读取",
        "The URL uses http: messages are not encrypted, and anyone on the network path can read them",
    ),
    "webhook_paths": (
        "未设置 public_url：消息中的链接只有路径，没有主机名",
        "The setting public_url is empty, so URLs in messages are only paths, without a host",
    ),
    # Why an attempt had no answer, and why a webhook was disabled
    "webhook_timeout": ("15 秒内没有响应", "No answer came within 15 s"),
    "webhook_address": (
        "主机名指向本机或内网地址，不予连接（webhook_allow_private）",
        "The host resolves to this machine or to a private network; no connection was made (webhook_allow_private)",
    ),
    "webhook_name": ("主机名无法解析", "The host name cannot be resolved"),
    "webhook_network": ("无法连接，或连接中断", "The connection could not be made, or it broke"),
    "webhook_tls": ("TLS 握手失败，请检查证书", "The TLS handshake failed; check the certificate"),
    "webhook_answer": ("响应不是有效的 HTTP", "The answer is not valid HTTP"),
    "webhook_internal": ("服务器未能生成消息，详见日志", "The server could not make the message; the log says why"),
    "webhook_gone": (
        "接收方返回 410，表示不再接收消息",
        "The receiver answered 410: it does not want any more messages",
    ),
}
