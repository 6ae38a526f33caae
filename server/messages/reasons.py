"""Texts for the parameters `reason` and `part` of a sentence."""

from server.messages.language import Texts

# Why a header, the metadata or a form is invalid.
REASONS: dict[str, Texts] = {
    "streams_process": ("服务器进程", "of this server process"),
    "streams_owner": ("同一用户", "of one owner"),
    "streams_address": ("同一地址", "of one address"),
    "stream_body": ("该请求不能有请求体", "this request has no body"),
    "event_number": ("须为收到的最后一个事件的编号", "it must be the id of the last event that was received"),
    "language_name": ("须为 zh 或 en", "it must be `zh` or `en`"),
    "header_method": ("须为 HTTP 方法名", "it must be the name of an HTTP method"),
    "header_repeated": ("出现了多次，请只发送一次", "the request contains it more than once; send it once"),
    "header_number": ("须为 0 至 {most} 的整数", "it must be a whole number from 0 to {most}"),
    "header_characters": ("含有控制字符", "it contains control characters"),
    "checksum_digest": ("摘要不是有效的 Base64", "the digest is not valid Base64"),
    "checksum_form": (
        "须为算法名、一个空格和 Base64 摘要",
        "it must be the name of an algorithm, a space and a digest in Base64",
    ),
    "concat_form": (
        "须为 partial，或 final; 加各个部分上传的地址",
        "it must be `partial`, or `final;` and the URLs of partial uploads",
    ),
    "concat_count": ("须列出 1 至 {most} 个部分上传", "it must name 1 to {most} partial uploads"),
    "concat_url": ("每一项须为上传的地址", "each item must be the URL of an upload"),
    "concat_length": (
        "合并上传的长度由各部分决定，请去掉该请求头",
        "a final upload has the length of its parts; leave this header out",
    ),
    "defer_value": ("只能为 1", "it can only be 1"),
    "defer_length": (
        "请求已带有 Upload-Length，请只发送其中之一",
        "the request also has Upload-Length; send only one of them",
    ),
    "length_set": ("长度已确定为 {length} 字节", "the length is already set to {length} bytes"),
    "length_short": (
        "服务器已有 {offset} 字节，长度不能更小",
        "the upload already has {offset} bytes; the length cannot be less",
    ),
    "idempotency_key": (
        "须为 1 至 255 个可见 ASCII 字符，可加引号",
        "it must be 1 to 255 visible ASCII characters, with or without quotes",
    ),
    "credential_unknown": ("未知的密钥或令牌", "there is no such key or token"),
    "credential_expired": ("已过期，请重新获取", "it has expired; get a new one"),
    "credential_revoked": ("已被撤销，请重新获取", "it was revoked; get a new one"),
    "credential_repeated": (
        "Authorization 请求头出现了多次，请只发送一次",
        "the request has more than one Authorization header; send one",
    ),
    "credential_form": (
        "Authorization 请求头须为 Bearer 加一个空格和密钥或令牌",
        "the Authorization header must be `Bearer`, a space and a key or token",
    ),
    "token_signature": ("签名无法验证", "its signature cannot be verified"),
    "token_claims": ("声明 {claim} 不符合要求", "its claim {claim} is missing or not the expected one"),
    "token_early": ("尚未生效", "it is not valid yet"),
    # In place of the explanation that a service did not give.
    "unexplained": ("未说明原因", "no reason was given"),
    "grant_filename": ("文件名须为 {filename}", "the file name must be {filename}"),
    "grant_size": ("文件最大 {limit}，且须声明长度", "the limit is {limit}, and the length must be declared"),
    "grant_length": ("长度须为 {length} 字节", "the length must be {length} bytes"),
    "grant_type": ("只接受 {accepted}", "only {accepted} are accepted"),
    "grant_origin": ("不允许从该网站上传", "it is for pages of another origin only"),
    "grant_task": ("该许可用于另一个任务", "it is for another task"),
    "field_type": ("须为 {expected}", "it must have the form {expected}"),
    "field_range": ("须为 {least} 至 {most}", "it must be from {least} to {most}"),
    "field_repeated": ("出现了多次，请只发送一次", "the request has it more than once; send it once"),
    "text_size": ("过长，UTF-8 编码后最多 {most} 字节", "it is too long; the limit is {most} bytes of UTF-8"),
    "text_length": ("过长，最多 {most} 个字符", "it is too long; the limit is {most} characters"),
    "text_characters": ("须为不含 NUL 的 UTF-8 文本", "it must be UTF-8 text without NUL"),
    "field_unknown": ("没有该字段", "there is no such field"),
    "webhook_url": (
        "须为 https:// 或 http:// 加主机名的地址，最长 {most} 个字符",
        "it must be a URL with https:// or http:// and a host, of at most {most} characters",
    ),
    "webhook_credentials": (
        "不能含用户名或密码；消息有签名可供验证",
        "it must not have a user or password; messages are signed instead",
    ),
    "webhook_private": (
        "指向本机或内网；需由管理员设置 webhook_allow_private",
        "it points to this machine or a private network; the setting webhook_allow_private can allow that",
    ),
    "owner_off": (
        "身份验证已关闭，所有内容属于同一个用户：请去掉该参数，或将设置 auth 设为 on",
        "without authentication there is only one owner: leave this parameter out, or change the setting auth to on",
    ),
    "webhook_replay": (
        "须提供 message_id，或提供 since（可加 until）",
        "give either message_id, or since with or without until",
    ),
    "webhook_owner": (
        "须为您自己；其他用户的 Webhook 需要权限 admin",
        "it must be your own; other owners need the scope admin",
    ),
    "retry_nothing": ("没有失败或已取消的文件", "none of its files has failed or been cancelled"),
    "retry_gone": ("原始文件已不存在：{names}", "the original is gone: {names}"),
    "retry_infected": (
        "文件中发现病毒，原始文件已被隔离",
        "a virus was found in it, and the original is in quarantine",
    ),
    "retry_folder": ("任务属于另一个数据目录", "it belongs to another data folder"),
    "quota_stored": ("存储空间最多 {limit}", "at most {limit} of stored videos"),
    "quota_open_bytes": ("未完成的上传最多 {limit}", "at most {limit} of unfinished uploads"),
    "quota_open_uploads": ("未完成的上传最多 {count} 个", "at most {count} unfinished uploads"),
    "quota_daily": ("每天最多上传 {limit}", "at most {limit} a day"),
    "quota_tasks": ("未结束的任务最多 {count} 个", "at most {count} unfinished tasks"),
    "metadata_size": ("过长，最多 {most} 个字符", "it is too long; the limit is {most} characters"),
    "metadata_key": (
        "键须为可打印的 ASCII 字符，且不含空格和逗号",
        "a key must be printable ASCII without spaces or commas",
    ),
    "metadata_repeated": ("键 {key} 出现了多次，请只发送一次", "it has the key {key} more than once; send it once"),
    "metadata_base64": ("键 {key} 的值不是有效的 Base64", "the value of {key} is not valid Base64"),
    "metadata_text": ("键 {key} 的值须为不含 NUL 的 UTF-8 文本", "the value of {key} must be UTF-8 text without NUL"),
    "metadata_text_size": (
        "键 {key} 的值过长，最多 {most} 字节",
        "the value of {key} is too long; the limit is {most} bytes",
    ),
    "group_key_missing": ("有 {present} 时还须有 {key}", "{present} also needs {key}"),
    "group_task": ("{key} 须为带连字符的 UUID（版本 4）", "{key} must be a version 4 UUID with hyphens"),
    "group_number": ("{key} 须为 1 至 {most} 的整数", "{key} must be a whole number from 1 to {most}"),
    "form_content_type": (
        "Content-Type 须为 multipart/form-data，并带有效的 boundary（1 至 70 字节）",
        "the Content-Type must be multipart/form-data with a boundary of 1 to 70 bytes",
    ),
    "form_begin": (
        "请求体开头没有找到 boundary，请确认它与 Content-Type 中的一致",
        "it does not begin with its boundary; use the one that the Content-Type names",
    ),
    "form_end": (
        "在结束 boundary 之前就中断了；每个 boundary 之前须有 CR LF",
        "it ends before its last boundary; a CR LF must precede each boundary",
    ),
    "form_line_feeds": (
        "换行只用了 LF；表单的换行须为 CR LF",
        "its lines end in LF only; the lines of a form must end in CR LF",
    ),
    "form_line_break": (
        "某一部分的头中有单独的 CR 或 LF；换行须为 CR LF",
        "the head of a part contains a single CR or LF; line breaks must be CR LF",
    ),
    "form_boundary_line": (
        "有一行以 boundary 开头，其后还有别的内容；请换用文件内容中不会出现的 boundary",
        "a line begins with the boundary and goes on after it; choose a boundary that no line of a file begins with",
    ),
    "form_head_line": (
        "某一部分的头中有一行不是 `name: value` 的形式",
        "the head of a part has a line that is not a header, `name: value`",
    ),
    "form_head_size": (
        "某一部分的头过长，最大 {limit}",
        "the head of a part is too long; the limit is {limit}",
    ),
    "form_parts": ("表单包含的部分过多，最多 {limit} 个", "it has too many parts; the limit is {limit}"),
    "form_nested": (
        "某一部分本身又是 multipart；请将每个文件作为单独的一部分发送",
        "a part is itself multipart; send each file as a part of its own",
    ),
}

# The part that is unavailable.
PARTS: dict[str, Texts] = {
    "database": ("数据库", "the database"),
    "disk": ("磁盘", "the disk"),
    "keys": ("令牌的公钥", "the keys that verify tokens"),
    "auth_url": ("身份验证服务", "the service that authenticates"),
    "hook": ("上传前的检查程序", "a hook that checks uploads"),
    "doctor": ("诊断程序", "the doctor"),
    "ffmpeg": ("视频处理程序 FFmpeg", "the program FFmpeg"),
    "store": ("对象存储", "the object store"),
    "server": ("服务器资源不足", "the server is out of resources"),
}
