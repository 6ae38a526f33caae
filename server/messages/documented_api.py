"""Sentences of the documented API: forms, and the status of a task.

Rule: its Chinese sentences are a contract and never change.
"""

from server.messages.language import Texts

SENTENCES: dict[str, Texts] = {
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
    "task_retried": ("任务将重新处理", "The task will be processed again"),
    "task_running": (
        "任务正在处理，无法删除；请先取消，或在请求中加上 ?cancel=1",
        "The task is being processed; cancel it first, or send the request with ?cancel=1",
    ),
    "poster_not_ready": (
        "视频尚未处理完成或处理失败，暂时不能更换封面",
        "The video has not been processed yet, or its processing failed; its poster cannot be changed now",
    ),
    "frame_unavailable": (
        "该时间点没有可用的画面，请选择其他时间点",
        "The video has no frame at this time; choose another time",
    ),
    "picture_invalid": (
        "无法读取该图片，请使用 JPEG、PNG 或 WebP 格式",
        "The picture cannot be read; use a JPEG, PNG or WebP file",
    ),
    "report_too_large": (
        "该时间段内的上传超过 {limit} 个，请缩短时间段",
        "There are more than {limit} uploads in this range; choose a shorter one",
    ),
    "task_not_ended": (
        "任务尚未结束，状态为 {status}，无法重新处理",
        "The task has not ended (its status is {status}); only a task that has ended can be retried",
    ),
    "task_not_retried": ("任务无法重新处理：{reason}", "The task cannot be retried: {reason}"),
    "task_gone": ("任务已删除，不能再修改或重新处理", "The task was deleted and cannot be changed or retried"),
    "cursor_invalid": (
        "cursor 与此列表的筛选条件不符或已损坏，请不带 cursor 重新开始",
        "The cursor does not belong to this list and its filters; start again without a cursor",
    ),
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
}
