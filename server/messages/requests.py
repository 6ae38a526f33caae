"""Sentences for requests that are refused: the tus protocol, limits, and a server that is busy or full."""

from server.messages.language import Texts

SENTENCES: dict[str, Texts] = {
    "header_missing": ("缺少请求头 {name}", "The request needs the header {name}"),
    "header_invalid": ("请求头 {name} 无效：{reason}", "The header {name} is not valid: {reason}"),
    "host_invalid": (
        "请求须有且只有一个有效的 Host 请求头",
        "The request must have exactly one Host header, with a valid host",
    ),
    "metadata_invalid": ("Upload-Metadata 无效：{reason}", "Upload-Metadata is not valid: {reason}"),
    "extension_unsupported": (
        "服务器不支持 tus 扩展 {name}",
        "This server does not offer the tus extension {name}; OPTIONS lists those that it offers",
    ),
    "checksum_unsupported": (
        "不支持校验算法 {algorithm}，可用 {offered}",
        "The checksum algorithm {algorithm} is not offered; use {offered}",
    ),
    "checksum_mismatch": (
        "校验和不符，该块未保存，请重新发送",
        "The bytes do not match their checksum and were not stored; send them again",
    ),
    "part_invalid": (
        "{part} 不是可合并的部分上传，或已被删除，请重新上传该部分",
        "{part} is not a partial upload that can be joined, or it was removed; upload this part again",
    ),
    "part_repeated": (
        "合并列表中重复出现 {part}，每个部分上传只能列一次",
        "The final upload names {part} more than once; name each partial upload once",
    ),
    "too_many_finals": (
        "已有 {limit} 个合并上传在等待 {part}，请先完成或删除其中一个",
        "{limit} final uploads are already waiting for {part}; complete or remove one of them first",
    ),
    "upload_final": (
        "这是合并后的上传，不能再追加数据",
        "This is a final upload, made of partial uploads; nothing can be appended to it",
    ),
    "not_found": ("资源不存在", "There is nothing at this address"),
    "upload_not_found": ("上传不存在，请重新创建", "There is no such upload; create a new one"),
    "method_not_allowed": (
        "不支持方法 {method}，可用 {allowed}",
        "{method} is not allowed here; use {allowed}",
    ),
    "offset_mismatch": (
        "偏移量不符，服务器已有 {offset} 字节，请从该处继续",
        "The upload has {offset} bytes; continue from there",
    ),
    "upload_complete": (
        "上传已完成，共 {offset} 字节",
        "The upload is already complete, with {offset} bytes; nothing can be appended",
    ),
    "task_taken": (
        "任务编号已被占用，请换一个新的 UUID",
        "This task id is already in use; choose a new UUID",
    ),
    "group_differs": (
        "task_files 与该任务的其他文件不一致，应为 {files}",
        "The other files of this task say task_files {files}; send the same number",
    ),
    "group_full": (
        "该任务的 {files} 个文件均已创建，不能再添加",
        "All {files} files of this task already exist; put this one into another task",
    ),
    "group_place_taken": (
        "该任务的第 {place} 个文件已由另一个上传占用，请换一个 task_file",
        "Another upload is already file {place} of this task; choose another task_file",
    ),
    "group_ended": (
        "该任务不再等待文件，请用新的任务编号重新上传",
        "This task is no longer waiting for files; upload again with a new task id",
    ),
    "upload_gone": ("上传已过期或已删除", "The upload has expired or was removed; create a new one"),
    "version_unsupported": (
        "请求头 Tus-Resumable 须为 {supported}",
        "The header Tus-Resumable must be {supported}",
    ),
    "upload_too_large": ("上传过大，最大 {limit}", "The upload is too large; the limit is {limit}"),
    "body_too_large": (
        "请求体超过上传剩余的 {room} 字节",
        "The body is longer than the {room} bytes that the upload still needs; nothing was stored",
    ),
    "content_type_unsupported": ("Content-Type 须为 {expected}", "The Content-Type must be {expected}"),
    "content_encoding_unsupported": (
        "不支持内容编码 {coding}，请去掉 Content-Encoding，直接发送原始数据",
        "The content coding {coding} is not supported; send the bytes uncompressed, without Content-Encoding",
    ),
    "head_too_large": (
        "请求头过大，最大 {limit}，最多 {count} 个",
        "The request head is too large; the limits are {limit} and {count} headers",
    ),
    "head_timeout": (
        "{seconds} 秒内没有收到完整的请求头，请重新发送",
        "The request head did not arrive within {seconds} s; send the request again",
    ),
    "body_timeout": (
        "{seconds} 秒内没有收到数据或数据过少，已收到的数据已保存，请从该处继续",
        "No data, or too little, arrived in {seconds} s; the data received so far is stored. Continue from there",
    ),
    "form_timeout": (
        "{seconds} 秒内没有收到数据或数据过少，请重新上传",
        "No data, or too little, arrived in {seconds} s; the form was discarded. Send it again, or use tus to resume",
    ),
    "idempotency_running": (
        "使用该 Idempotency-Key 的上传仍在进行，请稍后用同一个键重试",
        "An upload with this Idempotency-Key is still running; try again shortly with the same key",
    ),
    "idempotency_mismatch": (
        "该 Idempotency-Key 已用于另一组文件，新的上传请使用新的键",
        "This Idempotency-Key was used for other files; send these with a new key",
    ),
    "upload_locked": (
        "另一个请求正在写入该上传，请稍后重试",
        "Another request is writing to this upload; try again shortly",
    ),
    "internal_error": (
        "服务器内部错误，请求编号 {request_id}",
        "Internal server error; the log has the details under request {request_id}",
    ),
    "unavailable": (
        "服务暂时不可用（{part}），请稍后重试",
        "The service is temporarily unavailable ({part}); try again shortly",
    ),
    "too_busy": (
        "服务器正忙，请稍后重试",
        "The server has reached its limit of connections or uploads; try again shortly",
    ),
    "too_many_streams": (
        "实时事件连接已达上限 {limit}（{reason}），请改为轮询任务状态，或稍后重试",
        "The limit of {limit} live streams has been reached ({reason}); poll the status instead, or try again later",
    ),
    "server_stopping": (
        "服务器正在停止或重启，请稍后重试",
        "The server is stopping or restarting; try again shortly",
    ),
    "no_room": (
        "存储空间不足：需要 {needed}，可用于上传的还有 {room}，请稍后重试",
        "There is not enough disk space: this upload needs {needed}, and {room} is left for uploads; try again later",
    ),
    "form_storage_full": (
        "存储空间已满，本次上传未保存，请稍后重试",
        "The disk is full, and the form was discarded; send it again later",
    ),
    "storage_full": (
        "存储空间已满，已收到的数据已保存，请稍后重试",
        "The disk is full; the data received so far is stored. Try again later",
    ),
}
