"""Every finding of the doctor: its code, what is wrong, what to change, and the lines for three proxies.

Rule: a code stays; scripts and alerts compare it. `make docs` makes the table of docs/doctor.md from here.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum

NGINX, HAPROXY, CADDY = "nginx", "haproxy", "caddy"


class Level(Enum):
    """How much a finding matters."""

    PROBLEM = "problem"
    """Something does not work, or loses work; the exit code is 1."""
    ADVICE = "advice"
    """It works, and could be better."""


@dataclass(frozen=True)
class Entry:
    """What is said of a code. Texts have `{parameters}`."""

    text: str
    change: str
    directives: Mapping[str, str] = field(default_factory=dict)
    level: Level = Level.PROBLEM


def _forwarded(name: str, nginx: str, haproxy: str, caddy: str) -> dict[str, str]:
    return {
        NGINX: f"proxy_set_header {name} {nginx};",
        HAPROXY: f"http-request set-header {name} {haproxy}",
        CADDY: f"header_up {name} {caddy}",
    }


_HERE = {
    "data_folder_missing": Entry(
        "There is no data folder {folder}.",
        "Name the server's folder with --data-dir, or start `videodock serve` once.",
    ),
    "data_folder_unusable": Entry("{reason}", "Run the doctor as the server's user, and make the folder its own."),
    "data_folder_remote": Entry(
        "The data folder is on a file system of type {kind}, which this machine asks another one for.",
        "Keep the data folder on a disk of this machine; locks and syncs of a remote one are slow or not safe.",
        level=Level.ADVICE,
    ),
    "settings_unknown": Entry(
        "Environment variables that look like settings and are not: {names}.",
        "Correct the name, or remove the variable; `videodock settings` lists all settings.",
    ),
    "exposed": Entry("{reason}", "Turn authentication on, or listen on 127.0.0.1 behind a proxy."),
    "database_away": Entry("{reason}", "Start the database, or correct database_url."),
    "database_revision": Entry("{reason}", "Run `videodock migrate` (and restart the server)."),
    "database_clock": Entry(
        "The clock of the database and the clock of this machine differ by {seconds} s.",
        "Run an NTP client (chrony, systemd-timesyncd) on both machines: leases and expiries compare their times.",
    ),
    "store_unusable": Entry(
        "The store of the uploads cannot be used: {reason}", "Mount its disk, or correct its permissions."
    ),
    "disk_full": Entry(
        "The disk has no room for new uploads: {free} free, {promised} reserved by uploads, {reserve} to be kept free.",
        "Free space (docs/operation.md, A full disk), or lower disk_reserve.",
    ),
    "disk_low": Entry(
        "The disk has room for {left} of new uploads, less than one of the largest allowed ({largest}).",
        "Free space, use a larger disk, or lower tus_max_size.",
        level=Level.ADVICE,
    ),
    "ffmpeg_missing": Entry("{reason}", "apt install ffmpeg"),
    "ffmpeg_part_missing": Entry(
        "FFmpeg ({program}) lacks {names}: videos that need it fail.",
        "Install Debian's ffmpeg, or set VIDEODOCK_FFMPEG to one that was built with it.",
    ),
    "scanner_away": Entry(
        "The virus scanner at {address} does not answer ({reason}): uploads are accepted, and their tasks wait.",
        "Start clamd, or correct the setting clamd.",
    ),
    "celery_unusable": Entry("{reason}", "Correct the settings of Celery (docs/scaling.md)."),
    "broker_away": Entry(
        "The broker at {address} does not answer ({reason}): tasks wait.", "Start it, or correct broker_url."
    ),
    "redis_away": Entry(
        "Redis at {address} does not answer ({reason}): every process counts rates for itself.",
        "Start it, or correct redis_url.",
    ),
    "collector_away": Entry(
        "The collector of traces at {address} does not answer ({reason}): spans are lost.",
        "Start it, or correct otel_endpoint.",
        level=Level.ADVICE,
    ),
    "queue_stands": Entry(
        "{waiting} tasks wait, the oldest for {minutes} minutes, and no worker works on any.",
        "Start `videodock worker` or the Celery workers; with the embedded scheduler, /readyz and the log say why not.",
    ),
    "tasks_set_aside": Entry(
        "{number} tasks are set aside: {reason}.",
        "They go on by themselves once that is over; `videodock tasks list` shows them.",
        level=Level.ADVICE,
    ),
    "clock_unsynchronised": Entry(
        "No time service keeps the clock of this machine.",
        "Run an NTP client: timedatectl set-ntp true, or apt install chrony.",
        level=Level.ADVICE,
    ),
    "confinement_incomplete": Entry(
        "Processes that decode videos are not fully confined: {reason}.",
        "docs/sandbox.md says what each protection needs.",
        level=Level.ADVICE,
    ),
}

_REACH = {
    "no_answer": Entry(
        "The check got no answer: {reason}.",
        "Look into the logs of the proxy and of Videodock at this moment.",
    ),
    "url_unreachable": Entry(
        "{url} cannot be reached: {reason}.", "Check the name, the port, the firewall, and that the proxy runs."
    ),
    "certificate_invalid": Entry(
        "The certificate of {url} is not trusted: {reason}.",
        "Serve the whole chain for this name, or name your own authority with --ca.",
        {
            NGINX: "ssl_certificate /path/fullchain.pem;",
            HAPROXY: "bind :443 ssl crt /path/fullchain-and-key.pem",
            CADDY: "tls /path/fullchain.pem /path/privkey.pem",
        },
    ),
    "certificate_expires": Entry(
        "The certificate of {url} expires in {days} days.", "Renew it, and reload the proxy.", level=Level.ADVICE
    ),
    "redirected": Entry(
        "{url} redirects to {target}.",
        "Give clients and the doctor that address: not every client follows, and a 301 or 302 makes a GET of a POST.",
    ),
    "not_videodock": Entry(
        "{url}/healthz answers {status}, and not as Videodock does.",
        "Let the proxy forward the whole site, or the whole prefix, to Videodock.",
        {
            NGINX: "location {path}/ {{ proxy_pass http://127.0.0.1:8000/; }}",
            HAPROXY: "default_backend videodock",
            CADDY: "reverse_proxy 127.0.0.1:8000",
        },
    ),
    "server_not_ready": Entry(
        "/readyz says: {checks}.", "Correct that first; `videodock doctor` on the server says how."
    ),
    "clock_differs": Entry(
        "The clock of the server and the clock of this machine differ by {seconds} s.",
        "Run an NTP client on both: signed URLs and tokens expire by these clocks.",
    ),
    "key_needed": Entry(
        "Authentication is on, and the doctor has no key: nothing about uploads was checked.",
        "videodock keys create --owner doctor --scope upload --expires 1h, and VIDEODOCK_DOCTOR_KEY=<that key>.",
    ),
    "key_refused": Entry(
        "The key is refused ({status}): {sentence}",
        "Use a valid key of the scope upload. If it is one, the proxy removes or replaces the header Authorization.",
        _forwarded(
            "Authorization", "$http_authorization", "%[req.hdr(authorization)]", "{{http.request.header.Authorization}}"
        ),
    ),
    "creation_refused": Entry(
        "No upload can be created ({status}): {sentence}", "Correct what the sentence names, and run the doctor again."
    ),
    "upload_unknown": Entry(
        "The doctor created an upload, perhaps, and its URL did not arrive: {name}.",
        "On the server: `videodock uploads list --status open` has its id, if it exists, for "
        "`videodock uploads terminate`.",
    ),
    "upload_left": Entry("The doctor could not remove its upload {id} ({reason}).", "videodock uploads terminate {id}"),
}

_ADDRESSES = {
    "location_scheme": Entry(
        "Location begins with {found}://, and the site with {expected}://: clients go on at a wrong address.",
        "Let the proxy say which scheme the client used, and name the proxy in trusted_proxies.",
        _forwarded("X-Forwarded-Proto", "$scheme", "https if {{ ssl_fc }}", "{{scheme}}"),
    ),
    "location_host": Entry(
        "Location has the host {found}, and the site is {expected}.",
        "Let the proxy forward the client's Host, and rewrite no Location.",
        {
            NGINX: "proxy_set_header Host $http_host; proxy_redirect off;",
            HAPROXY: "# remove: http-request set-header Host, http-response replace-header Location",
            CADDY: "header_up Host {{hostport}}",
        },
    ),
    "location_port": Entry(
        "Location has the port {found}, and the site has {expected}.",
        "Forward Host with its port; where a further proxy hides the port, send X-Forwarded-Port.",
        _forwarded("Host", "$http_host", "%[req.hdr(host)]", "{{hostport}}"),
    ),
    "location_prefix": Entry(
        "Location has the path {found}, and uploads of this site are at {expected}.",
        "Set VIDEODOCK_ROOT_PATH={prefix} on the server, and let the proxy remove that prefix.",
        {
            NGINX: "location {prefix}/ {{ proxy_pass http://127.0.0.1:8000/; }}",
            HAPROXY: "http-request replace-path {prefix}(/.*)? \\1",
            CADDY: "handle_path {prefix}/* {{ reverse_proxy 127.0.0.1:8000 }}",
        },
    ),
}

_HEADS = {
    "method_refused": Entry(
        "What stands in front answers {method} itself, with {status}.",
        "Allow OPTIONS, POST, HEAD, GET, PATCH and DELETE. Until then, clients can send POST with "
        "X-HTTP-Method-Override.",
        {
            NGINX: "# remove limit_except and if ($request_method …)",
            HAPROXY: "# remove http-request deny of this method",
            CADDY: "# remove the matcher on method",
        },
    ),
    "head_becomes_get": Entry(
        "HEAD arrives as GET: clients cannot ask for their offset.",
        "Cache nothing below /files.",
        {
            NGINX: "proxy_cache off; proxy_cache_convert_head off;",
            HAPROXY: "# remove http-request set-method",
            CADDY: "# remove method GET from reverse_proxy",
        },
    ),
    "head_stale": Entry(
        "HEAD has the offset {found} after {expected} were acknowledged: an old answer is repeated.",
        "Cache nothing below /files.",
        {NGINX: "proxy_cache off;", HAPROXY: "# remove http-request cache-use", CADDY: "# remove the cache handler"},
    ),
    "request_header_lost": Entry(
        "The request header {name} does not reach Videodock as it was sent.",
        "Forward all request headers unchanged.",
        {
            NGINX: "# remove: proxy_set_header {name} …; proxy_pass_request_headers off;",
            HAPROXY: "# remove: http-request del-header {name}",
            CADDY: "# remove: header_up -{name}",
        },
    ),
    "response_header_lost": Entry(
        "The response header {name} does not reach the client.",
        "Forward all response headers unchanged.",
        {
            NGINX: "# remove: proxy_hide_header {name};",
            HAPROXY: "# remove: http-response del-header {name}",
            CADDY: "# remove: header_down -{name}",
        },
    ),
    "cors_missing": Entry(
        "Pages of {origin} may not upload: {what} is missing in the answer to {method}.",
        "Allow the origin in cors_origins, and let the proxy answer no preflight itself.",
        {
            NGINX: "# remove: if ($request_method = OPTIONS) {{ return 204; }}",
            HAPROXY: "# remove: http-request return … if METH_OPTIONS",
            CADDY: "# remove: respond on the matcher method OPTIONS",
        },
    ),
    "cors_doubled": Entry(
        "Access-Control-Allow-Origin comes {number} times in the answer to {method}; browsers refuse that.",
        "Let Videodock alone send these headers.",
        {
            NGINX: "# remove: add_header Access-Control-Allow-Origin …;",
            HAPROXY: "# remove: http-response add-header Access-Control-Allow-Origin …",
            CADDY: "# remove: header Access-Control-Allow-Origin …",
        },
    ),
    "metrics_public": Entry(
        "/metrics can be read from outside.",
        "Refuse it in the proxy, or turn authentication on.",
        {
            NGINX: "location ~ /metrics$ {{ return 404; }}",
            HAPROXY: "http-request deny deny_status 404 if {{ path_end /metrics }}",
            CADDY: "respond /metrics 404",
        },
        Level.ADVICE,
    ),
}

_BODIES = {
    "request_buffered": Entry(
        "What stands in front collects a whole request before it sends a byte on: of a PATCH that broke off after "
        "{sent}, nothing arrived. A cut loses the whole chunk, and every byte is written twice.",
        "Turn request buffering off. Until then, set VIDEODOCK_ADVISED_CHUNK_SIZE={advised}.",
        {
            NGINX: "proxy_request_buffering off; proxy_http_version 1.1;",
            CADDY: "# remove request_buffers, buffer_requests from reverse_proxy",
        },
    ),
    "body_limit": Entry(
        "What stands in front takes bodies of {limit} at most ({status}); the server takes {wanted}.",
        "Remove that limit, or set VIDEODOCK_ADVISED_CHUNK_SIZE={advised} (clients that know it stay below), and give "
        "other clients this chunk size. Forms are limited in any case.",
        {
            NGINX: "client_max_body_size 0;",
            HAPROXY: "# remove: http-request deny if {{ req.body_size gt … }}",
            CADDY: "# remove: request_body {{ max_size … }}",
        },
    ),
    "chunk_too_large": Entry(
        "The server advises chunks of {told}, and what stands in front takes {limit} at most.",
        "Set VIDEODOCK_ADVISED_CHUNK_SIZE={advised}.",
    ),
    "body_cut": Entry(
        "A PATCH of {sent} was not answered ({reason}); {arrived} of it arrived.",
        "Look for limits of time and size of the proxy.",
        {
            NGINX: "client_body_timeout 90s; proxy_read_timeout 300s;",
            HAPROXY: "timeout client 90s\n  timeout server 300s",
            CADDY: "# servers {{ timeouts {{ read_body 0 }} }}",
        },
    ),
    "body_changed": Entry(
        "The bytes of a body arrive changed: its checksum does not fit.",
        "Let the proxy look at and rewrite no body below /files (scanners, firewalls, compression).",
    ),
    "interim_taken_for_answer": Entry(
        "What stands in front takes `100 Continue` for the answer: a client that sends Expect gets no answer.",
        "Do not forward Expect.",
        {
            NGINX: 'proxy_set_header Expect "";',
            HAPROXY: "http-request del-header Expect",
            CADDY: "header_up -Expect",
        },
    ),
    "content_encoding_added": Entry(
        "A Content-Encoding stands in requests that had none: Videodock refuses them with 415.",
        "Forward the header as the client sent it.",
        {
            NGINX: "# remove: proxy_set_header Content-Encoding …;",
            HAPROXY: "# remove: http-request set-header Content-Encoding",
            CADDY: "# remove: header_up Content-Encoding …",
        },
    ),
    "content_encoding_forced": Entry(
        "Answers have `Content-Encoding: {found}` although the client accepts none.",
        "Compress only what the client's Accept-Encoding allows, and nothing below /files and /media.",
        {
            NGINX: "gzip off;",
            HAPROXY: "# remove: http-response set-header Content-Encoding",
            CADDY: "# remove: header Content-Encoding …",
        },
    ),
    "http2_slow": Entry(
        "By HTTP/2 a client may send {window} ahead: {speed} a second at most from 50 ms away. Browsers choose HTTP/2.",
        "Give an upload a larger window.",
        {
            NGINX: "client_body_buffer_size 1m;",
            HAPROXY: "tune.h2.initial-window-size 1048576",
            CADDY: "# Caddy's own window is 1 MiB; look at what stands before it",
        },
    ),
    "http2_fails": Entry(
        "A PATCH by HTTP/2 gets {what}; by HTTP/1.1 it works.",
        "Update the proxy, or offer HTTP/1.1 only.",
        {NGINX: "listen 443 ssl;", HAPROXY: "bind … alpn http/1.1", CADDY: "servers {{ protocols h1 }}"},
    ),
}

CATALOGUE: dict[str, Entry] = {**_HERE, **_REACH, **_ADDRESSES, **_HEADS, **_BODIES}
