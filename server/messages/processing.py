"""Sentences about the processing of a file: the virus scan, remarks, and why a file or a task failed."""

from server.messages.language import Texts

SENTENCES: dict[str, Texts] = {
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
    "video_too_long": (
        "视频时长 {seconds} 秒，超过允许的 {limit} 秒，文件已删除",
        "The video lasts {seconds} s, and {limit} s are allowed; the file was removed",
    ),
    "too_many_pixels": (
        "视频总像素量（宽 × 高 × 帧数）为 {pixels}（单位：十亿像素），超过上限 {limit}；请缩短视频或降低分辨率",
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
    "step_interrupted": ("服务器处理时出错，将重试", "The server failed to process the file and will retry"),
    "too_many_attempts": ("处理多次中断，不再重试", "Processing was interrupted too often and will not be retried"),
}

REMARKS = frozenset({"truncated", "audio_missing", "audio_downmixed"})
"""Codes that a step may put into the column `remarks`: the file is completed, but differs from what users expect."""
