"""Sentences for downloads that are refused."""

from server.messages.language import Texts

SENTENCES: dict[str, Texts] = {
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
}
