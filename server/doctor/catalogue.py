"""Every finding of the doctor: its code, how much it matters, and the lines for three proxies.

Rule: a code stays; scripts and alerts compare it. What is wrong and what to change is in `server/messages/doctor`, and
`make docs` makes the table of docs/doctor.md from both.
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
    """What belongs to a code besides its texts. Lines have `{parameters}`."""

    directives: Mapping[str, str] = field(default_factory=dict)
    level: Level = Level.PROBLEM


def _forwarded(name: str, nginx: str, haproxy: str, caddy: str) -> dict[str, str]:
    return {
        NGINX: f"proxy_set_header {name} {nginx};",
        HAPROXY: f"http-request set-header {name} {haproxy}",
        CADDY: f"header_up {name} {caddy}",
    }


_HERE = {
    "data_folder_missing": Entry(),
    "data_folder_unusable": Entry(),
    "data_folder_remote": Entry(level=Level.ADVICE),
    "settings_unknown": Entry(),
    "exposed": Entry(),
    "database_away": Entry(),
    "database_revision": Entry(),
    "database_clock": Entry(),
    "store_unusable": Entry(),
    "disk_full": Entry(),
    "disk_low": Entry(level=Level.ADVICE),
    "ffmpeg_missing": Entry(),
    "ffmpeg_part_missing": Entry(),
    "scanner_away": Entry(),
    "celery_unusable": Entry(),
    "broker_away": Entry(),
    "redis_away": Entry(),
    "collector_away": Entry(level=Level.ADVICE),
    "queue_stands": Entry(),
    "tasks_set_aside": Entry(level=Level.ADVICE),
    "clock_unsynchronised": Entry(level=Level.ADVICE),
    "confinement_incomplete": Entry(level=Level.ADVICE),
}

_REACH = {
    "no_answer": Entry(),
    "url_unreachable": Entry(),
    "certificate_invalid": Entry(
        {
            NGINX: "ssl_certificate /path/fullchain.pem;",
            HAPROXY: "bind :443 ssl crt /path/fullchain-and-key.pem",
            CADDY: "tls /path/fullchain.pem /path/privkey.pem",
        }
    ),
    "certificate_expires": Entry(level=Level.ADVICE),
    "redirected": Entry(),
    "not_videodock": Entry(
        {
            NGINX: "location {path}/ {{ proxy_pass http://127.0.0.1:8000/; }}",
            HAPROXY: "default_backend videodock",
            CADDY: "reverse_proxy 127.0.0.1:8000",
        }
    ),
    "server_not_ready": Entry(),
    "clock_differs": Entry(),
    "key_needed": Entry(),
    "key_refused": Entry(
        _forwarded(
            "Authorization", "$http_authorization", "%[req.hdr(authorization)]", "{{http.request.header.Authorization}}"
        )
    ),
    "creation_refused": Entry(),
    "upload_unknown": Entry(),
    "upload_left": Entry(),
}

_ADDRESSES = {
    "location_scheme": Entry(_forwarded("X-Forwarded-Proto", "$scheme", "https if {{ ssl_fc }}", "{{scheme}}")),
    "location_host": Entry(
        {
            NGINX: "proxy_set_header Host $http_host; proxy_redirect off;",
            HAPROXY: "# remove: http-request set-header Host, http-response replace-header Location",
            CADDY: "header_up Host {{hostport}}",
        }
    ),
    "location_port": Entry(_forwarded("Host", "$http_host", "%[req.hdr(host)]", "{{hostport}}")),
    "location_prefix": Entry(
        {
            NGINX: "location {prefix}/ {{ proxy_pass http://127.0.0.1:8000/; }}",
            HAPROXY: "http-request replace-path {prefix}(/.*)? \\1",
            CADDY: "handle_path {prefix}/* {{ reverse_proxy 127.0.0.1:8000 }}",
        }
    ),
}

_HEADS = {
    "method_refused": Entry(
        {
            NGINX: "# remove limit_except and if ($request_method …)",
            HAPROXY: "# remove http-request deny of this method",
            CADDY: "# remove the matcher on method",
        }
    ),
    "head_becomes_get": Entry(
        {
            NGINX: "proxy_cache off; proxy_cache_convert_head off;",
            HAPROXY: "# remove http-request set-method",
            CADDY: "# remove method GET from reverse_proxy",
        }
    ),
    "head_stale": Entry(
        {NGINX: "proxy_cache off;", HAPROXY: "# remove http-request cache-use", CADDY: "# remove the cache handler"}
    ),
    "request_header_lost": Entry(
        {
            NGINX: "# remove: proxy_set_header {name} …; proxy_pass_request_headers off;",
            HAPROXY: "# remove: http-request del-header {name}",
            CADDY: "# remove: header_up -{name}",
        }
    ),
    "response_header_lost": Entry(
        {
            NGINX: "# remove: proxy_hide_header {name};",
            HAPROXY: "# remove: http-response del-header {name}",
            CADDY: "# remove: header_down -{name}",
        }
    ),
    "cors_missing": Entry(
        {
            NGINX: "# remove: if ($request_method = OPTIONS) {{ return 204; }}",
            HAPROXY: "# remove: http-request return … if METH_OPTIONS",
            CADDY: "# remove: respond on the matcher method OPTIONS",
        }
    ),
    "cors_doubled": Entry(
        {
            NGINX: "# remove: add_header Access-Control-Allow-Origin …;",
            HAPROXY: "# remove: http-response add-header Access-Control-Allow-Origin …",
            CADDY: "# remove: header Access-Control-Allow-Origin …",
        }
    ),
    "metrics_public": Entry(
        {
            NGINX: "location ~ /metrics$ {{ return 404; }}",
            HAPROXY: "http-request deny deny_status 404 if {{ path_end /metrics }}",
            CADDY: "respond /metrics 404",
        },
        level=Level.ADVICE,
    ),
}

_BODIES = {
    "request_buffered": Entry(
        {
            NGINX: "proxy_request_buffering off; proxy_http_version 1.1;",
            CADDY: "# remove request_buffers, buffer_requests from reverse_proxy",
        }
    ),
    "body_limit": Entry(
        {
            NGINX: "client_max_body_size 0;",
            HAPROXY: "# remove: http-request deny if {{ req.body_size gt … }}",
            CADDY: "# remove: request_body {{ max_size … }}",
        }
    ),
    "chunk_too_large": Entry(),
    "body_cut": Entry(
        {
            NGINX: "client_body_timeout 90s; proxy_read_timeout 300s;",
            HAPROXY: "timeout client 90s\n  timeout server 300s",
            CADDY: "# servers {{ timeouts {{ read_body 0 }} }}",
        }
    ),
    "body_changed": Entry(),
    "interim_taken_for_answer": Entry(
        {
            NGINX: 'proxy_set_header Expect "";',
            HAPROXY: "http-request del-header Expect",
            CADDY: "header_up -Expect",
        }
    ),
    "content_encoding_added": Entry(
        {
            NGINX: "# remove: proxy_set_header Content-Encoding …;",
            HAPROXY: "# remove: http-request set-header Content-Encoding",
            CADDY: "# remove: header_up Content-Encoding …",
        }
    ),
    "content_encoding_forced": Entry(
        {
            NGINX: "gzip off;",
            HAPROXY: "# remove: http-response set-header Content-Encoding",
            CADDY: "# remove: header Content-Encoding …",
        }
    ),
    "http2_slow": Entry(
        {
            NGINX: "client_body_buffer_size 1m;",
            HAPROXY: "tune.h2.initial-window-size 1048576",
            CADDY: "# Caddy's own window is 1 MiB; look at what stands before it",
        }
    ),
    "http2_fails": Entry(
        {NGINX: "listen 443 ssl;", HAPROXY: "bind … alpn http/1.1", CADDY: "servers {{ protocols h1 }}"}
    ),
}

CATALOGUE: dict[str, Entry] = {**_HERE, **_REACH, **_ADDRESSES, **_HEADS, **_BODIES}
