"""Words for the middle of a sentence or the cell of a table: why a part does not work, and what a check saw.

Rule: a `Phrase` is its English text, for `/readyz`, the log and the command line; `in_language` gives a reader theirs.
"""

from collections.abc import Mapping

from server.messages.language import Language, Texts, choose

Value = str | int | float

PHRASES: dict[str, Texts] = {
    # Why a part is not ready
    "unreachable": ("无法连接", "cannot be reached"),
    "scanner_unreachable": ("无法连接，任务在等待扫描", "cannot be reached; tasks wait for it"),
    "broker_unreachable": ("无法连接消息代理，任务在等待", "the broker cannot be reached; tasks wait"),
    "wrong_revision": (
        "版本与此版本的 Videodock 不符",
        "is not at the revision that this version works with",
    ),
    "unknown_without_database": ("数据库不可用，无法得知", "cannot be known without the database"),
    "no_room_left": ("已没有空间接收新的上传", "the disk has no room for new uploads"),
    "no_answer_within": ("{seconds} 秒内没有响应", "no answer within {seconds} s"),
    "check_failed": ("检查失败，原因见服务器日志", "failed; the server's log says why"),
    "check_still_running": ("上一次检查尚未结束", "an earlier check has not ended yet"),
    "stopping": ("正在停止", "stopping"),
    "database_unreachable": ("无法连接数据库", "the database cannot be reached"),
    "tasks_cannot_be_looked_for": ("无法查找任务，原因见日志", "cannot look for tasks; the log says why"),
    "tasks_not_looked_for": ("已有 {seconds} 秒没有查找任务", "has not looked for tasks for {seconds} s"),
    # The confinement of processes that decode
    "confinement_tried": ("正在检查", "is being tried"),
    "confinement_unknown": ("无法检查，原因见服务器日志", "could not be tried; the server's log says why"),
    "confinement_refused": (
        "此机器不支持 {names}，解决办法见 docs/sandbox.md",
        "this machine refuses: {names}; docs/sandbox.md says what helps",
    ),
    # Why the doctor has a finding
    "file_missing": ("没有文件 {file}", "there is no file {file}"),
    "package_missing": ("没有安装软件包 {name}", "the package {name} is not installed"),
    "program_silent": ("{program} 没有响应", "{program} does not answer"),
    "silence": ("没有响应", "no answer"),
    "head_after_cut": ("PATCH 中断后的 HEAD", "HEAD after a PATCH that broke off"),
    # What a check of the doctor saw, or why it was skipped
    "location_relative": ("Location 是相对地址", "Location is relative"),
    "upload_too_small": ("允许的上传太小，无法检查", "the largest upload is too small"),
    "no_checksums": ("服务器不提供校验和", "the server verifies no checksums"),
    "arrived_before_cut": ("{sent} 中有 {arrived} 在中断前到达", "{arrived} of {sent} arrived before the cut"),
    "at_least": ("至少 {size}", "at least {size}"),
    "at_most": ("最多 {size}", "{size} at most"),
    "origin_not_named": (
        "cors_origins 只允许指定的来源，请用 --origin 指定其中之一",
        "cors_origins allows chosen origins only; name one with --origin",
    ),
    "http2_needs_tls": ("浏览器不会以 http 使用 HTTP/2", "browsers use HTTP/2 with https only"),
    "http2_package_missing": (
        "没有安装软件包 h2：pip install 'videodock[doctor]'",
        "the package h2 is not installed: pip install 'videodock[doctor]'",
    ),
    "http2_upload_too_small": ("上传或请求体的上限太小，无法检查", "the upload or the body limit is too small"),
    "http2_not_offered": ("未提供 HTTP/2", "HTTP/2 is not offered"),
    "http2_window": ("窗口为 {size}", "window of {size}"),
    "database_kind": ("{dialect}，修订版 {revision}", "{dialect}, revision {revision}"),
    "store_is_bucket": ("上传存放在存储桶中", "uploads are in a bucket"),
    "room_for_uploads": ("可用于新的上传：{size}", "{size} for new uploads"),
    "queue_length": ("{waiting} 个等待，{running} 个处理中", "{waiting} waiting, {running} running"),
    "clock_unknown": ("此机器无法得知", "this machine does not tell"),
    "upload_removed_here": ("已在本机删除", "removed on this machine"),
    "no_date": ("响应中没有 Date", "the answers have no Date"),
}


class Phrase(str):
    """A phrase in English that has a Chinese text, too."""

    __slots__ = ("_params", "_texts")

    _texts: Texts
    _params: dict[str, Value]

    @classmethod
    def of(cls, code: str, **params: Value) -> "Phrase":
        """The phrase of that code; `params` fill its braces."""
        return cls.made(PHRASES[code], params)

    @classmethod
    def made(cls, texts: Texts, params: dict[str, Value]) -> "Phrase":
        """A phrase whose texts are not in the table: a sentence of the API within another one."""
        phrase = cls(texts[1].format_map(params))
        phrase._texts, phrase._params = texts, params
        return phrase

    def in_language(self, language: Language) -> str:
        """The text for that reader."""
        return choose(language, self._texts).format_map(in_language(self._params, language))


def in_language(params: Mapping[str, Value], language: Language) -> dict[str, Value]:
    """The same parameters, with each phrase among them in that language."""
    return {name: spoken(value, language) if isinstance(value, str) else value for name, value in params.items()}


def spoken(text: str, language: Language) -> str:
    """`text` in that language where it is a phrase; what the system or another program said stays as it is."""
    return text.in_language(language) if isinstance(text, Phrase) else text
