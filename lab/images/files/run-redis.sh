#!/bin/sh
# Redis in the foreground as any user, in memory only. More arguments go to redis-server, as in `--maxclients 50`.
#   REDIS_PORT=6379 REDIS_MEMORY=64mb
#   REDIS_PASSWORD   asked of every client when it is set
set -eu
folder=$(mktemp -d /tmp/redis.XXXXXX)
umask 077 # the password stays out of the arguments and out of sight
{
    echo "bind 0.0.0.0"
    echo "port ${REDIS_PORT:-6379}"
    echo "protected-mode no"
    echo "daemonize no"
    echo "dir $folder"
    echo 'save ""'
    echo "appendonly no"
    echo "maxmemory ${REDIS_MEMORY:-64mb}"
    echo "maxmemory-policy allkeys-lru"
    echo "logfile \"\""
    [ -z "${REDIS_PASSWORD:-}" ] || echo "requirepass \"$REDIS_PASSWORD\""
} >"$folder/redis.conf"
exec redis-server "$folder/redis.conf" "$@"
