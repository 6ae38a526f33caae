"""What the doctor says, in Chinese and English: the titles of its checks, and each finding by its code.

Rule: a code and its lines of configuration are in `server/doctor/catalogue.py`; a new one needs its texts here.
"""

from server.messages.doctor import here, outside
from server.messages.doctor.texts import FindingTexts as FindingTexts
from server.messages.language import Texts

FINDINGS: dict[str, FindingTexts] = {**here.FINDINGS, **outside.FINDINGS}

CHECKS: dict[str, Texts] = {
    # On this machine
    "settings": ("设置", "settings"),
    "data_folder": ("数据目录", "data folder"),
    "database": ("数据库", "database"),
    "store": ("上传存储", "store of uploads"),
    "disk": ("磁盘", "disk"),
    "queue": ("队列", "queue"),
    "ffmpeg": ("FFmpeg", "FFmpeg"),
    "confinement": ("解码隔离", "confinement of decoders"),
    "scanner": ("病毒扫描", "virus scanner"),
    "broker": ("消息代理", "message broker"),
    "redis": ("Redis", "Redis"),
    "collector": ("追踪数据收集器", "collector of traces"),
    "local_clock": ("本机时钟", "clock of this machine"),
    # From outside
    "reach": ("网站地址", "public address"),
    "clock": ("服务器时钟", "clock of the server"),
    "options": ("OPTIONS 请求", "OPTIONS"),
    "cors": ("跨域请求", "other origins (CORS)"),
    "metrics": ("指标", "metrics"),
    "content_encoding": ("内容编码", "content encoding"),
    "creation": ("创建上传", "creation of an upload"),
    "location": ("上传地址", "address of the upload"),
    "head": ("HEAD 请求", "HEAD"),
    "patch": ("PATCH 请求", "PATCH"),
    "checksum": ("校验和", "checksum"),
    "interim": ("中间响应", "interim answers"),
    "body_limit": ("请求体上限", "largest body"),
    "buffering": ("请求缓冲", "buffering of requests"),
    "http2": ("HTTP/2", "HTTP/2"),
    "removal": ("删除上传", "removal of the upload"),
}
"""The titles of the checks, by their names."""
