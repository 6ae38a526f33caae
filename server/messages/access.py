"""Sentences for credentials, scopes, grants, quotas and rates."""

from server.messages.language import Texts

SENTENCES: dict[str, Texts] = {
    "authentication_required": (
        "需要身份验证，请在 Authorization 请求头中提供密钥或令牌，或使用该上传自己的链接、状态中的视频链接",
        "Send `Authorization: Bearer` with a key or token, or use the upload's own URL or the URLs in the status",
    ),
    "credential_invalid": ("凭证无效：{reason}", "The credential is not valid: {reason}"),
    "scope_missing": (
        "该凭证没有权限 {scope}，请使用有此权限的凭证",
        "This credential does not have the scope {scope}; use one that has it",
    ),
    "cross_site": (
        "只有本服务器的页面可以这样请求；程序请在每个请求中携带密钥或令牌",
        "Only a page of this server may send this with a sign-in; programs send a key or token with each request",
    ),
    "sign_in_invalid": (
        "登录请求须为 JSON，含 key 或 token 之一，最大 {limit}",
        "A sign-in must be a JSON object with either `key` or `token`, of at most {limit}",
    ),
    "host_not_allowed": (
        "此服务器不处理该主机名的请求",
        "This server does not accept requests for that host; use its public address",
    ),
    "refused_by_backend": ("上传被拒绝：{explanation}", "The upload was refused: {explanation}"),
    "grant_expired": (
        "上传授权已过期或已被撤销，请重新获取",
        "The upload grant has expired or was revoked; ask for a new one",
    ),
    "grant_used": (
        "上传授权的 {uploads} 个名额均已用于其他文件，请重新获取",
        "This upload grant allows {uploads} uploads, and other files have used them; ask for a new grant",
    ),
    "grant_mismatch": ("该上传不符合上传授权：{reason}", "The upload grant does not allow this: {reason}"),
    "field_invalid": ("字段 {field} 无效：{reason}", "The field {field} is not valid: {reason}"),
    "playback_expired": (
        "链接已过期，请重新查询任务状态以获取新链接",
        "This URL has expired; request the status of the task again to get a new one",
    ),
    "quota_too_small": (
        "文件超过您的限额 {limit}",
        "The upload is larger than your limit of {limit}",
    ),
    "quota_reached": (
        "已达到限额：{reason}，请稍后重试",
        "You have reached a limit: {reason}; try again later",
    ),
    "rate_limited": (
        "请求过于频繁，请在 {seconds} 秒后重试",
        "Too many requests; try again in {seconds} s",
    ),
    "share_not_found": (
        "没有该分享链接，请核对链接是否完整",
        "There is no such link; check that it is complete",
    ),
    "share_expired": (
        "该分享链接已过期，请向分享者索取新链接",
        "This link has expired; ask the person who sent it for a new one",
    ),
    "share_revoked": (
        "该分享链接已被撤销，请联系分享者",
        "This link was revoked; ask the person who sent it",
    ),
    "share_video_gone": ("该视频已被删除", "The video of this link was deleted"),
    "too_many_shares": (
        "该视频的有效分享链接已达上限 {limit} 个，请先撤销不用的",
        "A video may have at most {limit} valid links; revoke one that is not needed",
    ),
    "share_made_invalid": ("分享链接已撤销", "The link was revoked"),
    "key_not_found": ("没有该密钥", "There is no such key"),
    "key_made_invalid": ("密钥已撤销", "The key was revoked"),
    "grant_not_found": ("没有该上传授权", "There is no such upload grant"),
    "grant_made_invalid": ("上传授权已撤销", "The upload grant was revoked"),
}
