"""What the doctor says of the way from a client to the server: addresses, proxies, headers and bodies."""

from server.messages.doctor.texts import FindingTexts

FINDINGS: dict[str, FindingTexts] = {
    "no_answer": FindingTexts(
        text=("检查没有得到响应：{reason}。", "The check got no answer: {reason}."),
        change=(
            "请查看代理和 Videodock 此时的日志。",
            "Look into the logs of the proxy and of Videodock for this moment.",
        ),
    ),
    "url_unreachable": FindingTexts(
        text=("无法访问 {url}：{reason}。", "{url} cannot be reached: {reason}."),
        change=(
            "请检查主机名、端口、防火墙，以及代理是否在运行。",
            "Check the name, the port and the firewall, and whether the proxy runs.",
        ),
    ),
    "certificate_invalid": FindingTexts(
        text=("{url} 的证书不受信任：{reason}。", "The certificate of {url} is not trusted: {reason}."),
        change=(
            "请为此主机名提供完整的证书链，或用 --ca 指定您自己的证书颁发机构。",
            "Serve the whole chain for this name, or name your own authority with --ca.",
        ),
    ),
    "certificate_expires": FindingTexts(
        text=("{url} 的证书将在 {days} 天后过期。", "The certificate of {url} expires in {days} days."),
        change=("请更新证书，并重新加载代理。", "Renew it, and reload the proxy."),
    ),
    "redirected": FindingTexts(
        text=("{url} 重定向到 {target}。", "{url} redirects to {target}."),
        change=(
            "请让客户端和诊断直接使用该地址：并非所有客户端都会跟随重定向，而且 301 或 302 会把 POST 变成 GET。",
            (
                "Give clients and the doctor that address: not every client follows, and a 301 or 302 turns a POST "
                "into a GET."
            ),
        ),
    ),
    "not_videodock": FindingTexts(
        text=(
            "{url}/healthz 返回 {status}，且不是 Videodock 的响应。",
            "{url}/healthz answers {status}, and not as Videodock does.",
        ),
        change=(
            "请让代理把整个网站或整个路径前缀转发到 Videodock。",
            "Let the proxy forward the whole site, or the whole prefix, to Videodock.",
        ),
    ),
    "server_not_ready": FindingTexts(
        text=("/readyz 的结果：{checks}。", "/readyz says: {checks}."),
        change=(
            "请先解决该问题；在服务器上运行 `videodock doctor` 会给出办法。",
            "Correct that first; `videodock doctor` on the server says how.",
        ),
    ),
    "clock_differs": FindingTexts(
        text=(
            "服务器的时钟与本机时钟相差 {seconds} 秒。",
            "The clock of the server and the clock of this machine differ by {seconds} s.",
        ),
        change=(
            "请在两台机器上运行 NTP 客户端：签名链接和令牌的有效期以这些时钟为准。",
            "Run an NTP client on both: signed URLs and tokens expire by these clocks.",
        ),
    ),
    "key_needed": FindingTexts(
        text=(
            "服务器启用了身份验证，而诊断没有密钥：没有检查与上传有关的内容。",
            "Authentication is on, and the doctor has no key: nothing about uploads was checked.",
        ),
        change=(
            (
                "请运行 videodock keys create --owner doctor --scope upload --expires 1h，并设置 "
                "VIDEODOCK_DOCTOR_KEY=<该密钥>。"
            ),
            "videodock keys create --owner doctor --scope upload --expires 1h, and VIDEODOCK_DOCTOR_KEY=<that key>.",
        ),
    ),
    "key_refused": FindingTexts(
        text=("密钥被拒绝（{status}）：{sentence}", "The key is refused ({status}): {sentence}"),
        change=(
            "请使用具有 upload 权限的有效密钥。如果密钥无误，则是代理去掉或替换了请求头 Authorization。",
            (
                "Use a valid key with the scope upload. If it is one, the proxy removes or replaces the header "
                "Authorization."
            ),
        ),
    ),
    "creation_refused": FindingTexts(
        text=("无法创建上传（{status}）：{sentence}", "No upload can be created ({status}): {sentence}"),
        change=("请解决其中所述的问题，然后重新诊断。", "Correct what the sentence names, and run the doctor again."),
    ),
    "upload_unknown": FindingTexts(
        text=(
            "诊断可能创建了一个上传，但没有收到其地址：{name}。",
            "The doctor may have created an upload whose URL did not arrive: {name}.",
        ),
        change=(
            (
                "请在服务器上运行 `videodock uploads list --status open` 查找其编号；如果存在，请用 `videodock "
                "uploads terminate` 结束该上传。"
            ),
            (
                "On the server, `videodock uploads list --status open` has its id, if it exists, for `videodock "
                "uploads terminate`."
            ),
        ),
    ),
    "upload_left": FindingTexts(
        text=("诊断未能删除其上传 {id}（{reason}）。", "The doctor could not remove its upload {id} ({reason})."),
        change=("请运行 videodock uploads terminate {id}", "videodock uploads terminate {id}"),
    ),
    "location_scheme": FindingTexts(
        text=(
            "Location 以 {found}:// 开头，而网站使用 {expected}://：客户端会转到错误的地址。",
            "Location begins with {found}://, but the site with {expected}://: clients continue at a wrong address.",
        ),
        change=(
            "请让代理传递客户端使用的协议，并将代理列入 trusted_proxies。",
            "Let the proxy say which scheme the client used, and name the proxy in trusted_proxies.",
        ),
    ),
    "location_host": FindingTexts(
        text=(
            "Location 中的主机名是 {found}，而网站是 {expected}。",
            "Location has the host {found}, but the site is {expected}.",
        ),
        change=(
            "请让代理转发客户端的 Host，且不要改写 Location。",
            "Let the proxy forward the client's Host, and rewrite no Location.",
        ),
    ),
    "location_port": FindingTexts(
        text=(
            "Location 中的端口是 {found}，而网站使用 {expected}。",
            "Location has the port {found}, but the site has {expected}.",
        ),
        change=(
            "请转发带端口的 Host；如果更前面的代理隐藏了端口，请发送 X-Forwarded-Port。",
            "Forward Host with its port; where another proxy hides the port, send X-Forwarded-Port.",
        ),
    ),
    "location_prefix": FindingTexts(
        text=(
            "Location 中的路径是 {found}，而此网站的上传位于 {expected}。",
            "Location has the path {found}, but uploads of this site are at {expected}.",
        ),
        change=(
            "请在服务器上设置 VIDEODOCK_ROOT_PATH={prefix}，并让代理去掉该前缀。",
            "Set VIDEODOCK_ROOT_PATH={prefix} on the server, and let the proxy remove that prefix.",
        ),
    ),
    "method_refused": FindingTexts(
        text=("代理自行响应了 {method}，状态码为 {status}。", "A proxy answers {method} itself, with {status}."),
        change=(
            (
                "请允许 OPTIONS、POST、HEAD、GET、PATCH 和 DELETE。在此之前，客户端可以发送带 X-HTTP-Method-Override "
                "的 POST。"
            ),
            (
                "Allow OPTIONS, POST, HEAD, GET, PATCH and DELETE. Until then, clients can send POST with "
                "X-HTTP-Method-Override."
            ),
        ),
    ),
    "head_becomes_get": FindingTexts(
        text=(
            "HEAD 到达时变成了 GET：客户端无法查询偏移量。",
            "HEAD arrives as GET: clients cannot ask for their offset.",
        ),
        change=("请不要缓存 /files 下的任何内容。", "Cache nothing below /files."),
    ),
    "head_stale": FindingTexts(
        text=(
            "服务器已确认 {expected} 字节，而 HEAD 返回的偏移量是 {found}：返回的是旧的响应。",
            "HEAD has the offset {found} after {expected} were acknowledged: an old answer is repeated.",
        ),
        change=("请不要缓存 /files 下的任何内容。", "Cache nothing below /files."),
    ),
    "request_header_lost": FindingTexts(
        text=(
            "请求头 {name} 没有原样到达 Videodock。",
            "The request header {name} does not reach Videodock as it was sent.",
        ),
        change=("请原样转发所有请求头。", "Forward all request headers unchanged."),
    ),
    "response_header_lost": FindingTexts(
        text=("响应头 {name} 没有到达客户端。", "The response header {name} does not reach the client."),
        change=("请原样转发所有响应头。", "Forward all response headers unchanged."),
    ),
    "cors_missing": FindingTexts(
        text=(
            "{origin} 的页面不能上传：对 {method} 的响应中缺少 {what}。",
            "Pages of {origin} may not upload: {what} is missing in the answer to {method}.",
        ),
        change=(
            "请在 cors_origins 中允许该来源，并且不要让代理自行响应预检请求。",
            "Allow the origin in cors_origins, and let the proxy answer no preflight itself.",
        ),
    ),
    "cors_doubled": FindingTexts(
        text=(
            "对 {method} 的响应中有 {number} 个 Access-Control-Allow-Origin，浏览器会拒绝。",
            "Access-Control-Allow-Origin comes {number} times in the answer to {method}; browsers refuse that.",
        ),
        change=("请只由 Videodock 发送这些响应头。", "Let Videodock alone send these headers."),
    ),
    "metrics_public": FindingTexts(
        text=("从外部可以读取 /metrics。", "/metrics can be read from outside."),
        change=("请在代理中拒绝访问，或启用身份验证。", "Refuse it in the proxy, or turn authentication on."),
    ),
    "request_buffered": FindingTexts(
        text=(
            (
                "代理收到整个请求后才开始转发：一个 PATCH 在发送 {sent} 后中断，没有任何数据到达。连接中断会丢失整个"
                "数据块，而且每个字节都会写入两次。"
            ),
            (
                "A proxy collects the whole request before it forwards a byte: a PATCH broke off after {sent}, and "
                "nothing arrived. A cut loses the whole chunk, and every byte is written twice."
            ),
        ),
        change=(
            "请关闭请求缓冲。在此之前，请设置 VIDEODOCK_ADVISED_CHUNK_SIZE={advised}。",
            "Turn request buffering off. Until then, set VIDEODOCK_ADVISED_CHUNK_SIZE={advised}.",
        ),
    ),
    "body_limit": FindingTexts(
        text=(
            "代理接受的请求体最大 {limit}（{status}），而服务器接受 {wanted}。",
            "A proxy takes bodies of at most {limit} ({status}); the server takes {wanted}.",
        ),
        change=(
            (
                "请去掉该限制，或设置 VIDEODOCK_ADVISED_CHUNK_SIZE={advised}（支持它的客户端会遵守），并为其他客户端"
                "设置同样的块大小。表单始终受此限制。"
            ),
            (
                "Remove that limit, or set VIDEODOCK_ADVISED_CHUNK_SIZE={advised} (clients that know it stay below), "
                "and give other clients this chunk size. Forms are limited in any case."
            ),
        ),
    ),
    "chunk_too_large": FindingTexts(
        text=(
            "服务器建议的块大小是 {told}，而代理最多接受 {limit}。",
            "The server advises chunks of {told}, but a proxy takes at most {limit}.",
        ),
        change=("请设置 VIDEODOCK_ADVISED_CHUNK_SIZE={advised}。", "Set VIDEODOCK_ADVISED_CHUNK_SIZE={advised}."),
    ),
    "body_cut": FindingTexts(
        text=(
            "{sent} 的 PATCH 没有得到响应（{reason}），其中 {arrived} 已到达。",
            "A PATCH of {sent} was not answered ({reason}); {arrived} of it arrived.",
        ),
        change=("请检查代理对时间和大小的限制。", "Look for limits of time and size in the proxy."),
    ),
    "body_changed": FindingTexts(
        text=(
            "请求体的数据在途中被改动：与校验和不符。",
            "The bytes of a body arrive changed: they do not match their checksum.",
        ),
        change=(
            "请不要让途中的程序（扫描、防火墙、压缩）读取或改写 /files 下的请求体。",
            "Let nothing on the way read or rewrite bodies below /files (scanners, firewalls, compression).",
        ),
    ),
    "interim_taken_for_answer": FindingTexts(
        text=(
            "代理把 `100 Continue` 当作最终响应：发送 Expect 的客户端得不到响应。",
            "A proxy takes `100 Continue` for the answer: a client that sends Expect gets no answer.",
        ),
        change=("请不要转发 Expect。", "Do not forward Expect."),
    ),
    "content_encoding_added": FindingTexts(
        text=(
            "请求到达时带有客户端没有发送的 Content-Encoding：Videodock 会以 415 拒绝。",
            "Requests arrive with a Content-Encoding that the client did not send: Videodock refuses them with 415.",
        ),
        change=("请按客户端发送的原样转发该请求头。", "Forward the header as the client sent it."),
    ),
    "content_encoding_forced": FindingTexts(
        text=(
            "客户端不接受压缩，但响应带有 `Content-Encoding: {found}`。",
            "Answers have `Content-Encoding: {found}` although the client accepts none.",
        ),
        change=(
            "请只按客户端的 Accept-Encoding 压缩，且不要压缩 /files 和 /media 下的内容。",
            "Compress only what the client's Accept-Encoding allows, and nothing below /files and /media.",
        ),
    ),
    "http2_slow": FindingTexts(
        text=(
            (
                "以 HTTP/2 上传时，客户端最多可以预先发送 {window}：在 50 毫秒延迟下每秒最多 {speed}。浏览器会选择 "
                "HTTP/2。"
            ),
            (
                "By HTTP/2 a client may send {window} ahead: {speed} a second at most from 50 ms away. Browsers "
                "choose HTTP/2."
            ),
        ),
        change=("请为上传设置更大的窗口。", "Give an upload a larger window."),
    ),
    "http2_fails": FindingTexts(
        text=(
            "以 HTTP/2 发送的 PATCH 得到 {what}，而以 HTTP/1.1 可以成功。",
            "A PATCH by HTTP/2 gets {what}; by HTTP/1.1 it works.",
        ),
        change=("请升级代理，或只提供 HTTP/1.1。", "Update the proxy, or offer HTTP/1.1 only."),
    ),
}
