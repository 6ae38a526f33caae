"""What the doctor says of the machine that it runs on."""

from server.messages.doctor.texts import FindingTexts

FINDINGS: dict[str, FindingTexts] = {
    "data_folder_missing": FindingTexts(
        text=("没有数据目录 {folder}。", "There is no data folder {folder}."),
        change=(
            "请用 --data-dir 指定服务器的数据目录，或先启动一次 `videodock serve`。",
            "Name the server's folder with --data-dir, or start `videodock serve` once.",
        ),
    ),
    "data_folder_unusable": FindingTexts(
        text=("当前用户不能写入数据目录 {folder}。", "The data folder {folder} is not writable for this user."),
        change=(
            "请以服务器的用户运行诊断，并确保该目录属于此用户。",
            "Run the doctor as the server's user, and make that user the owner of the folder.",
        ),
    ),
    "data_folder_remote": FindingTexts(
        text=(
            "数据目录位于由其他机器提供的文件系统上（类型 {kind}）。",
            "The data folder is on a file system of type {kind}, which another machine serves.",
        ),
        change=(
            "请将数据目录放在本机磁盘上：远程文件系统的锁和同步较慢，或不可靠。",
            (
                "Keep the data folder on a disk of this machine: on a remote file system, locks and syncs are slow "
                "or unsafe."
            ),
        ),
    ),
    "settings_unknown": FindingTexts(
        text=(
            "以下环境变量像是设置，但没有这样的设置：{names}。",
            "These environment variables look like settings, but no setting has that name: {names}.",
        ),
        change=(
            "请更正名称，或删除该变量；`videodock settings` 会列出全部设置。",
            "Correct the name, or remove the variable; `videodock settings` lists all settings.",
        ),
    ),
    "exposed": FindingTexts(
        text=("服务器监听其他机器可以访问的地址，但未启用身份验证：任何人都可以上传和删除。", "{reason}"),
        change=(
            "请启用身份验证，或改为监听 127.0.0.1 并由代理转发。",
            "Turn authentication on, or listen on 127.0.0.1 and let a proxy forward to it.",
        ),
    ),
    "database_away": FindingTexts(
        text=("数据库无法使用：{reason}", "The database cannot be used: {reason}"),
        change=("请启动数据库，或更正 database_url。", "Start the database, or correct database_url."),
    ),
    "database_revision": FindingTexts(
        text=("数据库的版本与此版本的 Videodock 不符（需要修订版 {expected}）。", "{reason}"),
        change=(
            "请运行 `videodock migrate`，然后重新启动服务器。",
            "Run `videodock migrate` (and restart the server).",
        ),
    ),
    "database_clock": FindingTexts(
        text=(
            "数据库的时钟与本机时钟相差 {seconds} 秒。",
            "The clock of the database and the clock of this machine differ by {seconds} s.",
        ),
        change=(
            "请在两台机器上运行 NTP 客户端（chrony、systemd-timesyncd）：租约和有效期以两者的时间计算。",
            "Run an NTP client (chrony, systemd-timesyncd) on both machines: leases and expiries compare their times.",
        ),
    ),
    "store_unusable": FindingTexts(
        text=("上传存储无法使用：{reason}", "The store of the uploads cannot be used: {reason}"),
        change=("请挂载其磁盘，或更正其权限。", "Mount its disk, or correct its permissions."),
    ),
    "disk_full": FindingTexts(
        text=(
            "磁盘已没有空间接收新的上传：可用空间 {free}，其中 {promised} 已由上传预留，{reserve} 须保留空闲。",
            (
                "The disk has no room for new uploads: {free} are free, {promised} reserved by uploads, {reserve} to "
                "be kept free."
            ),
        ),
        change=(
            "请释放空间（见 docs/operation.md 的“A full disk”），或调低 disk_reserve。",
            "Free space (docs/operation.md, A full disk), or lower disk_reserve.",
        ),
    ),
    "disk_low": FindingTexts(
        text=(
            "磁盘还能接收 {left} 的新上传，小于单个上传的大小上限（{largest}）。",
            (
                "The disk has room for {left} of new uploads, which is less than one upload of the largest size "
                "({largest})."
            ),
        ),
        change=(
            "请释放空间、更换更大的磁盘，或调低 tus_max_size。",
            "Free space, use a larger disk, or lower tus_max_size.",
        ),
    ),
    "ffmpeg_missing": FindingTexts(
        text=("找不到可用的 FFmpeg（设置 ffmpeg）。", "{reason}"),
        change=("请安装：apt install ffmpeg", "apt install ffmpeg"),
    ),
    "ffmpeg_part_missing": FindingTexts(
        text=(
            "FFmpeg（{program}）缺少 {names}：需要它的视频会处理失败。",
            "FFmpeg ({program}) lacks {names}: videos that need it fail.",
        ),
        change=(
            "请安装 Debian 的 ffmpeg，或将 VIDEODOCK_FFMPEG 设为包含它的 FFmpeg。",
            "Install Debian's ffmpeg, or set VIDEODOCK_FFMPEG to one that was built with it.",
        ),
    ),
    "scanner_away": FindingTexts(
        text=(
            "病毒扫描程序 {address} 没有响应（{reason}）：上传照常接收，任务会等待。",
            "The virus scanner at {address} does not answer ({reason}): uploads are accepted, and their tasks wait.",
        ),
        change=("请启动 clamd，或更正设置 clamd。", "Start clamd, or correct the setting clamd."),
    ),
    "celery_unusable": FindingTexts(
        text=("Celery 的设置无法使用：{reason}", "{reason}"),
        change=("请更正 Celery 的设置（见 docs/scaling.md）。", "Correct the settings of Celery (docs/scaling.md)."),
    ),
    "broker_away": FindingTexts(
        text=(
            "消息代理 {address} 没有响应（{reason}）：任务会等待。",
            "The broker at {address} does not answer ({reason}): tasks wait.",
        ),
        change=("请启动消息代理，或更正 broker_url。", "Start it, or correct broker_url."),
    ),
    "redis_away": FindingTexts(
        text=(
            "Redis（{address}）没有响应（{reason}）：各进程会分别计算请求频率。",
            "Redis at {address} does not answer ({reason}): each process counts rates for itself.",
        ),
        change=("请启动 Redis，或更正 redis_url。", "Start it, or correct redis_url."),
    ),
    "collector_away": FindingTexts(
        text=(
            "追踪数据的收集器 {address} 没有响应（{reason}）：追踪数据会丢失。",
            "The collector of traces at {address} does not answer ({reason}): spans are lost.",
        ),
        change=("请启动收集器，或更正 otel_endpoint。", "Start it, or correct otel_endpoint."),
    ),
    "queue_stands": FindingTexts(
        text=(
            "有 {waiting} 个任务在等待，最早的已等待 {minutes} 分钟，但没有工作进程在处理任务。",
            "{waiting} tasks wait, the oldest for {minutes} minutes, and no worker is processing any task.",
        ),
        change=(
            "请启动 `videodock worker` 或 Celery 工作进程；如果由服务器自己处理，原因见 /readyz 和日志。",
            (
                "Start `videodock worker` or the Celery workers; with the embedded scheduler, /readyz and the log "
                "give the cause."
            ),
        ),
    ),
    "tasks_set_aside": FindingTexts(
        text=("有 {number} 个任务已推迟：{reason}。", "{number} tasks are postponed: {reason}."),
        change=(
            "原因消除后会自动继续；`videodock tasks list` 会列出这些任务。",
            "They resume without your help once the cause is gone; `videodock tasks list` shows them.",
        ),
    ),
    "clock_unsynchronised": FindingTexts(
        text=("没有时间服务校准本机的时钟。", "No time service keeps the clock of this machine."),
        change=(
            "请运行 NTP 客户端：timedatectl set-ntp true，或 apt install chrony。",
            "Run an NTP client: timedatectl set-ntp true, or apt install chrony.",
        ),
    ),
    "confinement_incomplete": FindingTexts(
        text=(
            "解码视频的进程没有完全隔离：{reason}。",
            "Processes that decode videos are not fully confined: {reason}.",
        ),
        change=("每项保护所需的条件见 docs/sandbox.md。", "docs/sandbox.md says what each protection needs."),
    ),
}
