"""Every sentence a person reads, in Chinese (as documented) and in English.

Rule: the database and the errors carry codes and parameters only; a sentence is made here, when it is read,
in the language of its reader. The Chinese sentences of the documented API are a contract and never change.
"""

from collections.abc import Mapping
from typing import Literal, get_args

Language = Literal["zh", "en"]
LANGUAGES: tuple[Language, ...] = get_args(Language)
Param = str | int | float

_SENTENCES: dict[str, tuple[str, str]] = {
    # The documented API
    "upload_accepted": ("视频上传成功", "Upload successful"),
    "task_uploaded": ("文件上传完成，准备处理", "Upload complete, waiting to be processed"),
    "task_gathering": ("等待其余文件 ({arrived}/{files})", "Waiting for the other files ({arrived}/{files})"),
    "task_processing": (
        "正在处理第 {current}/{total} 个视频...",
        "Processing video {current} of {total}...",
    ),
    "task_waiting": (
        "正在等待，稍后自动重试：{reason}",
        "Waiting; the next attempt starts soon: {reason}",
    ),
    "task_completed": ("处理完成", "Processing complete"),
    "task_error": ("处理出错：{reason}", "Processing failed: {reason}"),
    "task_cancelled": ("任务已取消", "Task cancelled"),
    "task_removed": ("任务已删除", "Task deleted"),
    "file_removed": ("文件已删除", "The file was deleted"),
    "task_not_found": ("任务不存在", "There is no such task"),
    "task_ended": ("任务已结束，无法取消", "The task has ended and cannot be cancelled"),
    "no_file": (
        "没有上传文件，请用字段 videos 选择视频",
        "The form has no file; send the videos in the field “videos”",
    ),
    "no_valid_file": (
        "没有可接受的视频文件，原因见 invalid_details",
        "None of the files was accepted; invalid_details says why",
    ),
    "file_too_large": ("文件过大，单个文件最大 {limit}", "The file is too large; the limit is {limit}"),
    "file_empty": ("文件为空", "The file is empty"),
    "too_many_files": ("文件过多，一次最多 {limit} 个", "Too many files; one request may have up to {limit}"),
    "multipart_invalid": (
        "无法解析表单数据：{reason}",
        "The form is not valid: {reason}",
    ),
    "transfer_encoding_unsupported": (
        "不支持传输编码 {coding}，请去掉 Content-Transfer-Encoding，直接发送原始数据",
        "The transfer encoding {coding} is not supported; send the bytes without Content-Transfer-Encoding",
    ),
    "media_type_unsupported": (
        "不支持的文件类型，支持 {accepted}",
        "This type of file is not supported; the supported types are {accepted}",
    ),
    "media_type_mismatch": (
        "文件内容与扩展名不符，或不是视频（支持 {accepted}）",
        "The content is not a video, or does not match the file extension (supported: {accepted})",
    ),
    # Protocol
    "header_missing": ("缺少请求头 {name}", "The request needs the header {name}"),
    "header_invalid": ("请求头 {name} 无效：{reason}", "The header {name} is not valid: {reason}"),
    "host_invalid": (
        "请求须有且只有一个有效的 Host 请求头",
        "The request needs one Host header, and only one, with a valid host",
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
        "{limit} final uploads already wait for {part}; complete or remove one of them first",
    ),
    "upload_final": (
        "这是合并后的上传，不能再追加数据",
        "This is a final upload, made of partial uploads; nothing can be appended to it",
    ),
    "not_found": ("资源不存在", "There is nothing at this address"),
    "upload_not_found": ("上传不存在", "There is no such upload; create a new one"),
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
        "The other files of this task have {files} as task_files; send the same number",
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
        "This task no longer waits for files; upload again with a new task id",
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
        "No data, or too little, arrived in {seconds} s; the data received so far is stored, continue from there",
    ),
    "form_timeout": (
        "{seconds} 秒内没有收到数据或数据过少，请重新上传",
        "No data, or too little, arrived in {seconds} s; the form was discarded. Send it again, or use tus to resume",
    ),
    "idempotency_running": (
        "使用该 Idempotency-Key 的上传仍在进行，请稍后用同一键重试",
        "An upload with this Idempotency-Key is still running; try again shortly with the same key",
    ),
    "idempotency_mismatch": (
        "该 Idempotency-Key 已用于另一组文件，新的上传请使用新键",
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
        "The server is at its limit of connections or uploads; try again shortly",
    ),
    "server_stopping": (
        "服务器正在停止或重启，请稍后重试",
        "The server is stopping or restarting; try again shortly",
    ),
    "no_room": (
        "存储空间不足：需要 {needed}，可用于上传的还有 {room}，请稍后重试",
        "There is not enough disk space: this needs {needed}, and {room} is left for uploads; try again later",
    ),
    "form_storage_full": (
        "存储空间已满，本次上传未保存，请稍后重试",
        "The disk is full, and the form was discarded; send it again later",
    ),
    "storage_full": (
        "存储空间已满，已收到的数据已保存，请稍后重试",
        "The disk is full; the data received so far is stored, try again later",
    ),
    # Downloads
    "downloads_off": (
        "服务器未开放原始文件下载，可由管理员将设置 downloads 改为 on",
        "This server does not offer originals for download; its operator can set `downloads` to `on`",
    ),
    "upload_incomplete": (
        "上传尚未完成，暂时无法下载",
        "The upload is not complete yet, so there is nothing to download",
    ),
    "upload_partial": (
        "这是部分上传，不能下载，请下载合并后的上传",
        "A partial upload cannot be downloaded; download the final upload instead",
    ),
    "upload_unscanned": (
        "文件尚未通过病毒扫描，暂时无法下载",
        "The file has not passed the virus scan yet, so it cannot be downloaded",
    ),
    "upload_infected": (
        "文件中发现病毒，已被隔离，无法下载",
        "A virus was found in the file; it is in quarantine and cannot be downloaded",
    ),
    "precondition_failed": (
        "文件与 If-Match 或 If-Unmodified-Since 指定的版本不符",
        "The file is not the version that If-Match or If-Unmodified-Since asks for",
    ),
    "range_unsatisfiable": (
        "请求的范围超出文件（共 {size} 字节）",
        "The range is outside the file, which has {size} bytes",
    ),
    # The virus scan
    "too_large_to_scan": (
        "文件过大，无法进行病毒扫描，最大 {limit}",
        "The file is too large for the virus scanner; the limit is {limit}",
    ),
    "scan_limit": (
        "病毒扫描程序未能完整扫描文件，文件未被接受",
        "The virus scanner could not scan the whole file, so the file was not accepted",
    ),
    "infected": (
        "文件中发现病毒（{signature}），已被隔离",
        "A virus was found in the file ({signature}); it is in quarantine",
    ),
    "disk_full": ("存储空间已满，有可用空间后将继续处理", "The disk is full; processing resumes when there is space"),
    "scanner_away": ("病毒扫描程序暂时不可用", "The virus scanner is temporarily unavailable"),
    "scanner_failed": ("病毒扫描程序未能完成对该文件的检查", "The virus scanner could not finish checking the file"),
    # Remarks: a file is completed, and its owner should know this (`REMARKS`)
    "truncated": (
        "文件不完整，只能播放到中断处；如需完整视频，请重新上传原文件",
        "The file is incomplete; the video plays up to the point where the file ends. Upload the whole file again",
    ),
    "audio_missing": (
        "无法转换原视频的声音，生成的视频没有声音",
        "The sound of the file could not be converted, so the converted video is silent",
    ),
    "audio_downmixed": (
        "原视频的声道没有标明位置，已混合为立体声",
        "The file does not give the positions of its audio channels; they were mixed down to stereo",
    ),
    # Why a file or a task failed
    "group_member_removed": (
        "文件“{name}”的上传已被删除，其余文件不再等待",
        "The upload of “{name}” was removed, so the other files no longer wait for it",
    ),
    "group_member_expired": (
        "文件“{name}”未能在期限内上传完成",
        "“{name}” was not uploaded in time",
    ),
    "group_late": (
        "{files} 个文件中只有 {created} 个在期限内开始上传",
        "Only {created} of {files} files were started in time",
    ),
    "not_playable": ("文件不是可播放的视频", "The file is not a playable video"),
    "no_video_stream": ("文件中没有视频画面", "The file has no video track"),
    "only_pictures": (
        "文件中只有静态图片（例如封面），没有视频",
        "The file has only still images, such as a cover, and no video",
    ),
    "protected": (
        "视频受版权保护（已加密），无法处理，请上传未加密的文件",
        "The video is protected (encrypted) and cannot be processed; upload a copy that is not encrypted",
    ),
    "codec_unsupported": (
        "不支持该视频的编码格式（{codec}），请转换为 H.264 等常用格式后再上传",
        "The codec of the video ({codec}) is not supported; convert it to a common one, such as H.264, and upload that",
    ),
    "too_many_pixels": (
        "视频总像素量（宽 × 高 × 帧数）为 {pixels} 吉像素，超过上限 {limit} 吉像素；请缩短视频或降低分辨率后重新上传",
        "All frames have {pixels} gigapixels, over the limit of {limit}; shorten the video or lower its resolution",
    ),
    "step_timeout": (
        "处理超过 {seconds} 秒，已停止",
        "Processing took longer than {seconds} s and was stopped",
    ),
    "step_crashed": (
        "处理程序异常退出，文件可能已损坏",
        "The processing program crashed; the file may be damaged",
    ),
    "step_memory": ("处理所需内存超过 {limit}", "Processing needed more memory than {limit}"),
    "poster_failed": ("无法从视频中截取封面", "A poster could not be made from the video"),
    "transcode_failed": ("无法转换视频", "The video could not be converted"),
    "transcode_too_large": ("转换后的视频过大", "The converted video would be too large"),
    "storyboard_failed": ("无法从视频中截取进度预览图", "Preview images could not be made from the video"),
    "original_missing": ("原始文件已不存在", "The original file no longer exists"),
    "step_failed": (
        "服务器处理时出错，多次重试后仍未成功",
        "The server failed to process the file, even after several attempts",
    ),
    "step_interrupted": ("服务器处理时出错，将重试", "The server failed to process the file and will try again"),
    "too_many_attempts": ("处理多次中断，不再重试", "Processing was interrupted too often and will not be tried again"),
}

# What the parameter `reason` names: why a header, the metadata or a form cannot be understood.
_REASONS: dict[str, tuple[str, str]] = {
    "header_method": ("须为 HTTP 方法名", "it must be the name of an HTTP method"),
    "header_repeated": ("出现了多次，请只发送一次", "the request has it more than once; send it once"),
    "header_number": ("须为 0 至 {most} 的整数", "it must be a whole number from 0 to {most}"),
    "checksum_digest": ("摘要不是有效的 Base64", "the digest is not valid Base64"),
    "checksum_form": (
        "须为算法名、一个空格和 Base64 摘要",
        "it must be the name of an algorithm, a space and a digest in Base64",
    ),
    "concat_form": (
        "须为 partial，或 final; 加各个部分上传的 URL",
        "it must be `partial`, or `final;` and the URLs of partial uploads",
    ),
    "concat_count": ("须列出 1 至 {most} 个部分上传", "it must name 1 to {most} partial uploads"),
    "concat_url": ("每一项须为上传的 URL", "each item must be the URL of an upload"),
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
    "metadata_size": ("过长，最多 {most} 个字符", "it is too long; the limit is {most} characters"),
    "metadata_key": (
        "键须为可打印的 ASCII 字符，且不含空格和逗号",
        "a key must be printable ASCII without spaces or commas",
    ),
    "metadata_repeated": ("键 {key} 出现了多次，请只发送一次", "it has the key {key} more than once; send it once"),
    "metadata_base64": ("键 {key} 的值不是有效的 Base64", "the value of {key} is not valid Base64"),
    "group_key_missing": ("有 {present} 时还须有 {key}", "{present} also needs {key}"),
    "group_task": ("{key} 须为带连字符的 UUID（版本 4）", "{key} must be a version 4 UUID with hyphens"),
    "group_number": ("{key} 须为 1 至 {most} 的整数", "{key} must be a whole number from 1 to {most}"),
    "form_content_type": (
        "Content-Type 须为 multipart/form-data，并带有效的 boundary（1 至 70 字节）",
        "the Content-Type must be multipart/form-data with a boundary of 1 to 70 bytes",
    ),
    "form_begin": (
        "正文开头没有找到 boundary，请确认它与 Content-Type 中的一致",
        "it does not begin with its boundary; use the one that the Content-Type names",
    ),
    "form_end": (
        "在结束 boundary 之前就中断了；每个 boundary 之前须有 CR LF",
        "it ends before its last boundary; a CR LF must precede each boundary",
    ),
    "form_line_feeds": (
        "换行只用了 LF；表单的换行须为 CR LF",
        "its lines end in LF only; the lines of a form end in CR LF",
    ),
    "form_line_break": (
        "某一部分的头中有单独的 CR 或 LF；换行须为 CR LF",
        "the head of a part has a single CR or LF; a line break is CR LF",
    ),
    "form_boundary_line": (
        "有一行以 boundary 开头，其后还有别的内容；请换用文件内容中不会出现的 boundary",
        "a line begins with the boundary and goes on after it; choose a boundary that no line of a file begins with",
    ),
    "form_head_line": (
        "某一部分的头中有一行不是“名称: 值”的形式",
        "the head of a part has a line that is not a header, `name: value`",
    ),
    "form_head_size": (
        "某一部分的头过长，最大 {limit}",
        "the head of a part is too long; the limit is {limit}",
    ),
    "form_parts": ("分段过多，最多 {limit} 个", "it has too many parts; the limit is {limit}"),
    "form_nested": (
        "某一部分本身又是 multipart；请将每个文件作为单独的一部分发送",
        "a part is itself multipart; send each file as a part of its own",
    ),
}

# What the parameter `part` of `unavailable` names.
_PARTS: dict[str, tuple[str, str]] = {
    "database": ("数据库", "the database"),
    "disk": ("磁盘", "the disk"),
    "server": ("服务器资源不足", "the server is out of resources"),
}

# Parameters that are a number of bytes where they are an integer, by the code of the sentence or of the reason.
_SIZES: dict[str, tuple[str, ...]] = {
    "upload_too_large": ("limit",),
    "file_too_large": ("limit",),
    "too_large_to_scan": ("limit",),
    "head_too_large": ("limit",),
    "no_room": ("needed", "room"),
    "form_head_size": ("limit",),
}

CODES = frozenset(_SENTENCES)

REMARKS = frozenset({"truncated", "audio_missing", "audio_downmixed"})
"""Codes that a step may put into the column `remarks`: the file is completed, but differs from what one expects."""


def templates(code: str) -> tuple[str, str]:
    """Chinese and English, with their `{parameters}` not filled in."""
    return _SENTENCES[code]


def sentence(code: str, params: Mapping[str, Param], language: Language) -> str:
    """The sentence for `code`; a parameter that is missing stands as `?` rather than hide the sentence."""
    filled = _Lenient(params)
    reason = str(params.get("reason", ""))
    for name in (*_SIZES.get(code, ()), *_SIZES.get(reason, ())):
        number = params.get(name)
        if isinstance(number, int):
            filled[name] = size(number)
    if reason in _REASONS:
        filled["reason"] = _in(language, _REASONS[reason]).format_map(filled)
    if code == "unavailable" and params.get("part") in _PARTS:
        filled["part"] = _in(language, _PARTS[str(params["part"])])
    return _in(language, _SENTENCES.get(code, _SENTENCES["not_found"])).format_map(filled)


def _in(language: Language, texts: tuple[str, str]) -> str:
    chinese, english = texts
    return chinese if language == "zh" else english


def negotiate(accept_language: str | None, default: Language) -> Language:
    """The reader's language by RFC 9110 section 12.5.4: the best of zh and en, else `default`."""
    best: Language = default
    best_quality = 0.0
    for item in (accept_language or "").split(","):
        tag, _, parameters = item.strip().partition(";")
        primary = tag.strip().lower().partition("-")[0]
        quality = _quality(parameters)
        if primary in ("zh", "en") and quality > best_quality:
            best, best_quality = ("zh" if primary == "zh" else "en"), quality
    return best


def _quality(parameters: str) -> float:
    name, _, value = parameters.strip().partition("=")
    if name.strip().lower() != "q":
        return 1.0
    try:
        return float(value)
    except ValueError:
        return 0.0


def size(number: int) -> str:
    """A number of bytes as a person writes it: exact where it can be, in binary units."""
    for unit, factor in (("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)):
        if number >= factor:
            value = number / factor
            return f"{value:.0f} {unit}" if number % factor == 0 else f"{value:.1f} {unit}"
    return f"{number} B"


class _Lenient(dict[str, Param]):
    def __missing__(self, key: str) -> str:
        return "?"
