#!/bin/sh
# PostgreSQL 15 in the foreground, initialised into PGDATA at its first start. More arguments go to postgres.
#   POSTGRES_USER=postgres POSTGRES_PASSWORD (without it everybody is let in) POSTGRES_DB=<the user>
#   POSTGRES_PORT=5432 POSTGRES_CONNECTIONS=50 POSTGRES_BUFFERS=32MB
#   /etc/loomidi/sql/*.sql   run once in that database, in the order of their names
set -eu
PATH=/usr/lib/postgresql/15/bin:$PATH
data=${PGDATA:-/var/lib/postgresql/data}
user=${POSTGRES_USER:-postgres}
database=${POSTGRES_DB:-$user}

if [ "$(id -u)" = 0 ]; then # PostgreSQL refuses to run as root
    install -d -o postgres -g postgres -m 0700 "$data"
    chown -R postgres:postgres "$data"
    exec setpriv --reuid=postgres --regid=postgres --init-groups "$0" "$@"
fi

initialise() {
    secret=$(mktemp -d /tmp/postgres.XXXXXX) # of this run alone, also the socket of the server that loads
    umask 077
    printf '%s\n' "${POSTGRES_PASSWORD:-}" >"$secret/password"
    method=trust
    [ -z "${POSTGRES_PASSWORD:-}" ] || method=scram-sha-256
    set -- -D "$data" -U "$user" -E UTF8 --locale=C.UTF-8 --no-sync --auth-local=trust "--auth-host=$method"
    [ "$method" = trust ] || set -- "$@" "--pwfile=$secret/password"
    initdb "$@" >"$secret/log" || { cat "$secret/log" >&2; exit 1; }
    echo "host all all all $method" >>"$data/pg_hba.conf"
    pg_ctl -D "$data" -s -w -l "$secret/log" -o "-c listen_addresses='' -k $secret -F" start || { cat "$secret/log" >&2; exit 1; }
    [ "$database" = postgres ] ||
        psql -q -h "$secret" -U "$user" -d postgres -v ON_ERROR_STOP=1 -v "name=$database" <<'SQL'
create database :"name";
SQL
    for file in /etc/loomidi/sql/*.sql; do
        [ ! -e "$file" ] || psql -q -h "$secret" -U "$user" -d "$database" -v ON_ERROR_STOP=1 -f "$file"
    done
    pg_ctl -D "$data" -s -m fast -w stop
    rm -rf "$secret"
    touch "$data/loomidi-ready"
}

if [ ! -e "$data/loomidi-ready" ]; then # absent too when an earlier start was killed half way
    mkdir -p "$data"
    chmod 700 "$data" 2>/dev/null || true # a mounted volume may belong to somebody else; initdb then says so
    find "$data" -mindepth 1 -delete
    ( initialise )
fi
exec postgres -D "$data" -k /tmp -c 'listen_addresses=*' -c "port=${POSTGRES_PORT:-5432}" \
    -c "max_connections=${POSTGRES_CONNECTIONS:-50}" -c "shared_buffers=${POSTGRES_BUFFERS:-32MB}" \
    -c log_connections=on -c log_disconnections=on -c log_destination=stderr -c logging_collector=off \
    -c ssl=off -c jit=off "$@"
