#!/bin/sh
# nginx in the foreground as any user. More arguments go to nginx.
#   NGINX_PORT=8080 NGINX_CONNECTIONS=512 NGINX_TIMEOUT=60   of the built-in configuration (seconds for slow clients)
#   /etc/loomidi/nginx.conf    a whole configuration, mounted, instead of the built-in one
#   /etc/loomidi/sites/*.conf  server blocks, mounted, instead of the built-in server
set -eu
given=/etc/loomidi/nginx.conf
if [ -e "$given" ]; then
    exec nginx -c "$given" -e /dev/stderr -g 'daemon off;' "$@"
fi
own=$(mktemp -d /tmp/nginx.XXXXXX)
mkdir "$own/html"
echo "nginx of the lab on $(hostname)" >"$own/html/index.html"
if ls /etc/loomidi/sites/*.conf >/dev/null 2>&1; then
    sites='include /etc/loomidi/sites/*.conf;'
else
    sites="server { listen ${NGINX_PORT:-8080} backlog=511; root $own/html; location = /status { stub_status; } }"
fi
cat >"$own/nginx.conf" <<CONF
worker_processes 1;
pid $own/nginx.pid;
error_log /dev/stderr warn;
events { worker_connections ${NGINX_CONNECTIONS:-512}; }
http {
    include /etc/nginx/mime.types;
    default_type application/octet-stream;
    log_format lab '\$remote_addr \$time_iso8601 "\$request" \$status \$body_bytes_sent \$request_time';
    access_log /dev/stdout lab;
    server_tokens off;
    client_header_timeout ${NGINX_TIMEOUT:-60};
    client_body_timeout ${NGINX_TIMEOUT:-60};
    send_timeout ${NGINX_TIMEOUT:-60};
    client_body_temp_path $own/body;
    proxy_temp_path $own/proxy;
    fastcgi_temp_path $own/fastcgi;
    uwsgi_temp_path $own/uwsgi;
    scgi_temp_path $own/scgi;
    $sites
}
CONF
exec nginx -c "$own/nginx.conf" -e /dev/stderr -g 'daemon off;' "$@"
