"""The descriptions of the settings in Chinese, by the names of their fields.

Rule: the English of a description is on its field in `server/settings`, from which docs/settings.md and `--help` are
made. A new setting needs its line here; a test compares the names, and the words in backticks.
"""

CHINESE: dict[str, str] = {
    # Serving
    "host": "监听的地址。",
    "port": "监听的端口；0 表示自动选择一个空闲端口。",
    "workers": "服务进程的数量。",
    "root_path": "代理发布本服务器时使用的路径前缀，例如 `/video`；由代理去掉此前缀。",
    "trusted_proxies": (
        "可信代理的地址或网段，以逗号分隔，只采用来自它们的 `Forwarded` 和 `X-Forwarded-*` 请求头；`*` 表示信任所有地"
        "址，留空表示都不信任。"
    ),
    "cors_origins": (
        "允许其页面上传（tus 或表单）、查询状态和读取视频结果的网站来源，以逗号分隔；`*` 表示任何来源，但不带凭证。"
    ),
    "cors_allow_headers": (
        "除 Videodock 自己读取的以外，`cors_origins` 的页面还可以发送的请求头名称，以逗号分隔，例如 `traceparent,"
        "X-CSRF-Token`。`cors_origins=*` 时可以发送任何请求头。"
    ),
    "embed_ancestors": (
        "允许在框架中嵌入播放器 `/embed/…` 的网站来源，以逗号分隔，例如 `https://www.example.org` 或 "
        "`https://*.example.org`；`*` 表示任何来源，留空表示仅限本服务器的页面。本服务器的其他页面一律不能嵌入。"
    ),
    "docs": (
        "是否向所有人提供 `/openapi.json`（HTTP 接口的描述）和 `/docs`（查看该描述的页面）；`off` 时两者都返回 404。"
    ),
    "http": "HTTP 实现：`videodock` 限制请求头的大小并支持 trailer；`portable` 使用 uvicorn 自带的实现，两者都不支持。",
    "max_head_size": (
        "请求头总大小的上限（全部行合计，字节）；不适用于 `portable`。默认值足够列出要合并的 1,000 个部分上传的地址。"
    ),
    "head_timeout": "完整的请求头须在多少秒内到达；不适用于 `portable`。",
    "keep_alive_timeout": "响应之后没有新请求的连接在多少秒后关闭；不适用于 `portable`。保持连接的代理须更早关闭连接。",
    "drain_seconds": (
        "收到停止信号后继续提供服务的秒数，其间 `/readyz` 已返回 503，使负载均衡器把请求转到别处；之后 "
        "`shutdown_grace` 开始计时。再次收到信号则立即结束这段时间。"
    ),
    "shutdown_grace": "收到停止信号后，正在进行的请求还有多少秒可以完成。",
    # Access
    "auth": (
        "请求是否需要凭证：`off` 允许任何客户端执行任何操作，仅适用于只有本机能访问的服务器；`on` 要求所有请求提供凭"
        "证，但凭上传自己的链接即可继续、查询和删除该上传。"
    ),
    "allow_anonymous": (
        "`auth` 为 off 时，是否仍可监听其他机器能访问的地址；单独使用选项 `--allow-anonymous` 即为 `on`。"
    ),
    "allowed_hosts": "请求的 `Host` 可以使用的主机名，以逗号分隔，例如 `videos.example.org`；留空表示允许任何主机名。",
    "jwt_secret": (
        "以 HS256 签名的令牌（JWT）的密钥，至少 32 个字符；留空表示不接受此类令牌。请放在环境变量或文件中：命令行选项"
        "会被本机的其他用户看到。"
    ),
    "jwt_jwks": "验证令牌（JWT）的公钥：JSON Web Key Set 的文件路径或 https 地址；留空表示不接受此类令牌。",
    "jwt_algorithms": (
        "由 `jwt_jwks` 验证的令牌可以使用的算法，以逗号分隔：RS256、PS256、ES256 和 EdDSA。由 `jwt_secret` 验证的令牌"
        "使用 HS256。"
    ),
    "jwt_issuer": "令牌的 `iss` 须等于此值；留空表示不检查。",
    "jwt_audience": "令牌的 `aud` 须包含此值；留空表示不检查。",
    "jwt_owner_claim": "令牌中表示用户的声明（claim）。",
    "jwt_scope_claim": "令牌中表示权限的声明（claim），可以是列表，也可以是以空格分隔的单词。",
    "jwt_default_scopes": "令牌没有 `jwt_scope_claim` 声明时具有的权限。",
    "jwt_leeway": "令牌签发方的时钟与本机时钟最多可以相差多少秒。",
    "auth_url": (
        "请求没有其他凭证时，由此地址（您自己的服务）决定是否可以创建上传；留空表示没有这样的服务。发送上传的数据块时"
        "不会再询问。表单的大小按整个请求体计算。"
    ),
    "auth_url_headers": "转发给 `auth_url` 的请求头，以逗号分隔。",
    "auth_url_timeout": "`auth_url` 须在多少秒内响应。",
    "auth_proxy_header": (
        "`trusted_proxies` 中的代理用来传递已验证用户的请求头，例如 `X-Forwarded-User`；留空表示不使用。代理须在每个"
        "请求中设置或去掉此请求头，否则客户端可以冒充任何用户。"
    ),
    "session_idle": "在页面上登录后，最后一次请求之后多少秒登录失效。",
    "session_lifetime": "在页面上登录多少秒后登录失效。",
    "playback": (
        "谁可以观看处理结果：`public` 表示知道链接的任何人；`signed` 要求使用状态中的签名链接，或视频所属用户的凭证；"
        "`auto` 在 `auth` 为 on 时等同于 `signed`，否则等同于 `public`。"
    ),
    "playback_url_ttl": "签名链接至少有效多少秒。",
    "owner_stored_bytes": "每个用户的全部上传（包括未完成的）最多占用的字节数；0 表示不限。",
    "owner_open_bytes": "每个用户未完成的上传合计的字节数上限；0 表示不限。",
    "owner_open_uploads": "每个用户未完成的上传的数量上限；0 表示不限。",
    "owner_daily_bytes": "每个用户每天（UTC）最多创建的上传的字节数；0 表示不限。",
    "owner_waiting_tasks": "每个用户未结束的任务的数量上限；0 表示不限。",
    "rate_owner": "每个用户创建上传和提交表单的频率上限，例如 `100/minute`；留空表示不限。继续上传的请求不计入。",
    "rate_address": "每个地址（IPv6 按 /64 网段）创建上传和提交表单的频率上限，例如 `100/minute`；留空表示不限。",
    "rate_failures": "每个地址使用无效凭证的请求的频率上限；留空表示不限。",
    "redis_url": (
        "Redis 的地址，例如 `redis://127.0.0.1:6379/0`：各进程通过它共同计算请求频率，保存运行中任务的状态供轮询，并"
        "触发实时事件；留空时各进程分别计算，状态从数据库读取。"
    ),
    "audit_retention": "审计日志的记录在多少秒后删除；0 表示一直保留。",
    # Where things are kept
    "data_dir": "存放上传、处理结果和 SQLite 数据库的目录。",
    "database_url": "数据库的地址，`sqlite:///file` 或 `postgresql://…`；留空表示使用数据目录中的 `videodock.db`。",
    "database_pool_size": "每个进程的数据库连接数，也是使用这些连接的线程数。",
    # The store in S3
    "store": (
        "上传的存放位置：留空表示 `data_dir`；`s3://bucket/prefix?endpoint=…&region=…&dialect=…` 表示存储桶，需要"
        "安装附加组件 `s3`。凭证由 boto3 从环境变量、文件或机器本身获取，不能写在地址中。"
    ),
    "s3_memory": (
        "一个服务进程中等待发往存储桶的分块合计可使用的内存。数据到达的速度超过存储桶接收的速度时，请求体会等待内存释"
        "放。"
    ),
    "s3_part_size": (
        "上传的分块的最小大小。如果上传会超过 10,000 个分块，则使用更大的分块。`s3_memory` 须能容纳最大的上传的四个分"
        "块。"
    ),
    "s3_parallel": "一个上传同时发送的分块数。",
    "s3_deadline": "对存储桶的请求失败后继续重试的秒数；超过后客户端会收到 503，应稍后重试。tus 客户端会等待 30 秒。",
    "s3_cache": "数据目录的 `cache` 目录中供处理时读取的本地副本的总大小。这些副本可以随时删除。",
    # What is accepted
    "accept": "接受哪些文件：`video` 检查文件名和文件开头的内容，`any` 接受任何文件。",
    "accept_types": (
        "接受的视频类型，以扩展名表示，用逗号分隔；同一类型的其他扩展名也一并接受。`default` 包括 mp4、mov、avi、mk"
        "v、wmv、flv 和 3gp，以 tus 上传时还有 webm 和 m4v；`all` 另外包括 ts（mts、m2ts、m2t）、mpg（mpeg）、ogv 和 "
        "mxf。可以写成 `default,ts`。"
    ),
    "tus_max_size": "以 tus 上传的单个文件的最大字节数。",
    "max_file_size": "以表单上传的单个文件的最大字节数。",
    "max_files": "一个任务（一次表单上传，或一组 tus 上传）的文件数上限。",
    "disk_reserve": (
        "上传须在数据目录所在的磁盘上保留的可用空间，以字节为单位，或带单位（`10GiB`）；`auto` 为磁盘的 5%，最多 2 "
        "GiB。会占用保留空间的上传返回 507；其他上传已预留空间、因而剩余空间不足时也返回 507。"
    ),
    # Uploads
    "max_connections": (
        "一个服务进程同时保持的连接数上限；超出的连接上的请求返回 503，客户端应稍后重试；但如果有连接的客户端已有 10 "
        "秒没有读取响应，则先断开该连接。不适用于 `portable`。"
    ),
    "max_bodies": "一个服务进程同时接收的请求体数量上限；超出的请求返回 503，客户端应稍后重试。",
    "max_event_streams": (
        "一个服务进程同时保持的实时事件连接数上限；超出的连接返回 503，客户端应改为轮询。每个实时事件连接也计入 "
        "`max_connections`，占用约 60 KiB。0 表示不提供。"
    ),
    "max_owner_event_streams": "每个用户的实时事件连接数上限；未启用身份验证时，按地址计算。",
    "body_idle_timeout": (
        "多少秒没有收到数据后放弃接收请求体；已收到的数据会保留。发送下载和其他响应时同样适用：客户端这么久没有读取数"
        "据时断开连接（不适用于 `portable`）。"
    ),
    "body_min_rate": (
        "请求体平均速度的下限（字节/秒）：低于此速度的时间超过 `body_idle_timeout` 时放弃接收；已收到的数据会保留，0 "
        "表示不限。按默认值，每个网络数据包可延长 20 秒：再差的线路也不会慢到这种程度，而每秒只发一个字节的客户端也不"
        "能一直占用连接。"
    ),
    "advised_chunk_size": (
        "建议客户端在一个 PATCH 中最多发送的字节数，用于会限制或缓冲请求体的代理；0 表示不作建议。上传页面会遵守，其"
        "他客户端可从 `Upload-Limit`、`Tus-Max-Chunk-Size` 或 `GET /api/config` 得知。更大的请求体不会被拒绝。"
    ),
    "tus_engine": (
        "处理 tus 上传的引擎：`videodock` 是自带的引擎，`tuspyserver` 是同名的软件包；两者规则相同，存储也相同。"
    ),
    "upload_locks": (
        "如何防止两个请求同时写入一个上传：`files` 使用数据目录中的文件锁，适用于同一台机器上的进程；`database` 使用 "
        "PostgreSQL 中的租约，适用于多台机器。`auto` 在 `store` 不是目录时为 `database`，否则为 `files`。所有进程须使"
        "用相同的值：修改前请停止全部进程。"
    ),
    "upload_lease": (
        "使用数据库锁（`upload_locks`）时，机器停机或断网后多少秒释放其持有的锁。这么久都无法续约的机器会停止接收数据。"
    ),
    "fsync": (
        "断电后保证保留的数据：`complete` 为已确认完成的上传及其任务，`patch` 为已确认的每个字节，`never` 不作保证。"
        "仅仅是进程被终止时，三者都不会丢失数据。"
    ),
    "upload_expiry": "未完成的上传在最后一次收到数据多少秒后删除。",
    "downloads": (
        "对已完成的上传发送 GET 时是否返回原始文件：`on` 允许知道其链接的任何客户端下载，`off` 一律不允许。链接在状态"
        "的 `original_url` 中；`auth` 为 on 时是签名链接。"
    ),
    "form_answer_expiry": "带有 `Idempotency-Key` 的表单重复提交时，在多少秒内返回已保存的响应。",
    "sweep_interval": "两次清理（过期的上传和残留文件）之间相隔的秒数。",
    # Retention
    "failed_retention": "任务失败或取消、或者文件处理失败多少秒后删除其原始文件；0 表示不删除。",
    "original_retention": "任务结束多少秒后删除其原始文件；0 表示不删除。",
    "result_retention": "任务结束多少秒后删除其视频的处理结果；0 表示不删除。",
    "quarantine_retention": "任务结束多少秒后删除其被隔离的文件；0 表示不删除。",
    "event_retention": "已结束任务的事件在多少秒后删除；0 表示不删除。",
    "row_retention": (
        "已结束的任务和上传在磁盘上没有任何文件之后，多少秒后从数据库删除其记录；统计报表由这些记录计算。0 表示不删除。"
    ),
    # Processing
    "scheduler": (
        "由谁处理上传完成的文件：`embedded` 为本服务器，`celery` 为任意数量机器上的 Celery 工作进程，`none` 为单独启"
        "动的 `videodock worker`。"
    ),
    "encode_limit": "本机同时处理的任务数；0 表示每个处理器核心一个。",
    "encode_priority": (
        "转码与本机其他工作相比的处理器优先级：`low` 为其他程序所得时间的十分之一，`idle` 只使用其他程序剩余的时间。"
        "使用 `idle` 时，上传的响应速度与不转码时相同；但如果其他程序一直占满处理器，转码就不会有进展。"
    ),
    "task_lease": "工作进程多少秒没有心跳后，其任务可由其他工作进程接手。",
    "task_max_attempts": "任务因工作进程崩溃而中断多少次后视为失败。",
    "step_time_limit": "一个步骤处理一个文件最多使用的秒数。",
    "step_memory_limit": "一个步骤可以使用的地址空间（字节）。",
    "max_pixels": (
        "一个视频全部画面的总像素量上限（宽 × 高 × 帧数 ÷ 10^9，单位为十亿像素）。一小时 30 帧/秒的 1080p 视频为 "
        "224，一小时 60 帧/秒的 2160p 视频为 1792。此外，文件每个字节最多对应 50,000 个像素，另加 200 亿像素。"
    ),
    "ffmpeg": "使用的 FFmpeg：`auto` 优先使用系统的，没有时使用自带的；也可以是 `system`、`bundled` 或路径。",
    "owner_limit": "每个用户同时处理的任务数；0 表示不限。未启用身份验证时，所有上传属于同一个用户 `default`。",
    "task_retry_pause": "步骤因文件以外的原因失败后，多少秒后重试；每再失败一次时间加倍，最长五分钟。",
    "transcode": (
        "生成哪些可播放的文件：`mp4` 为所有浏览器都能播放的单个文件，`hls` 为多种画质的流媒体，`both` 为两者，`none` "
        "为都不生成。"
    ),
    "transcode_max_height": "最大画质的高度（像素），竖屏视频为宽度；不会放大画面。",
    "transcode_preset": "编码器的预设：越慢，文件越小。",
    "transcode_time_limit": (
        "一个文件的 MP4，或其 HLS 的全部画质，最多使用的秒数；较短或较小的视频按其像素数和字节数相应减少。"
    ),
    "spare_children": "预先启动、等待任务的子进程数，使视频能更快播放；每个占用约 15 MB。0 表示需要时才启动。",
    "storyboard": "是否生成拖动进度条时显示的预览图。",
    "originals": "任务完成、视频可以播放之后是否保留原始文件；`drop` 表示删除。",
    "clamd": (
        "病毒扫描程序的地址，`unix:/run/clamav/clamd.ctl` 或 `tcp://host:3310`；留空表示不扫描文件。设置后，未经扫描"
        "的文件不会处理：扫描程序不可用时，任务会等待。"
    ),
    "scan_max_size": (
        "病毒扫描程序可扫描的最大文件（字节）；不得超过 clamd 自己的 `StreamMaxLength` 和 `MaxFileSize`，超过的部分 "
        "clamd 不会扫描。"
    ),
    "scan_too_large": (
        "设置了病毒扫描程序时，如何对待过大而无法扫描的文件：`refuse` 拒绝上传，`mark` 照常处理并标记为未扫描。"
    ),
    "poster_size": "封面较长边的像素数；较小的视频不会放大。",
    "broker_url": "Celery 消息代理的地址，`amqp://…`（RabbitMQ）或 `redis://…`。",
    # Webhooks and hooks
    "public_url": (
        "其他人访问本服务器时使用的地址，包括路径前缀，末尾不加斜杠，例如 `https://videos.example.org`。Webhook 消息"
        "和 Python 钩子中的链接以此开头；留空时，这些链接只有路径。"
    ),
    "webhook_allow_private": (
        "Webhook 是否可以发送到本机和内网的地址，并且不使用 TLS 也不提示；`on` 使任何可以添加 Webhook 的用户都能访问"
        "这些地址。"
    ),
    "hook_time_limit": "每次调用 Python 钩子 `post_finish` 和 `post_task` 最多使用的秒数。",
    "pre_create_time_limit": "创建一个上传时，所有 Python 钩子 `pre_create` 合计最多使用的秒数；其间客户端会等待。",
    "pre_create_failure": (
        "钩子 `pre_create` 出错或超时时，如何处理要创建的上传：`allow` 照常创建并写入日志，`refuse` 返回 503。"
    ),
    # Look of the page
    "brand_name": "页面、页面标题、分享的视频及其预览卡片上显示的名称。",
    "brand_logo": (
        "标志文件的路径，SVG 或 PNG，最大 256 KiB；留空表示使用自带的标志。SVG 中的脚本和对其他文件的引用会被去掉；"
        "PNG 的边长最多 1024 像素。"
    ),
    "brand_accent": (
        "按钮和链接的颜色，例如 `#0f766e`；留空表示蓝色。在浅色页面上的对比度至少为 4.5（WCAG 2.2 AA）；深色页面的色"
        "调由它生成。"
    ),
    "terms_url": "使用条款的地址，显示在页面底部；留空表示不显示。",
    "privacy_url": "隐私政策的地址，显示在页面底部；留空表示不显示。",
    # Logs and traces
    "log_level": "写入日志的最低级别。",
    "log_format": "日志的格式：`auto` 在终端上为 `console`，否则为 `json`。",
    "otel_endpoint": (
        "以 HTTP 接收 OTLP 的 OpenTelemetry 收集器的地址，例如 `http://127.0.0.1:4318`；留空表示不追踪。需要安装附加"
        "组件 `otel`；`OTEL_EXPORTER_OTLP_HEADERS`、`OTEL_SERVICE_NAME` 和 `OTEL_RESOURCE_ATTRIBUTES` 同样有效。"
    ),
    "otel_sample": "追踪的任务所占的百分比，每个任务从第一个请求一直追踪到结束。",
}
