"""The images as data: parent, Debian packages, files, accounts, how they run.

Called by `building`, which makes them, and by `containerfile`, which writes the same for podman and docker. In:
nothing. Out: `RECIPES`. Packages come from Debian bookworm without recommended ones.
"""

import dataclasses

from loomidi.contracts.errors import UsageError
from loomidi_lab.images.places import CHECKOUT, FILES, LAB
from loomidi_lab.images.records import Added, Running, User

DOMAIN = "lab.loomidi.io"
TAG = "1"
SUITE = "bookworm"
PAUSE = "registry.k8s.io/pause:3.10"  # the name that containerd's CRI plugin looks for
_BIN = "/usr/local/bin"
_COMPILE = "python3 -m compileall -q --invalidation-mode checked-hash"  # by content: dates of files do not matter


@dataclasses.dataclass(frozen=True, slots=True)
class Recipe:
    """One image."""

    name: str
    title: str
    parent: str = ""  # empty: a bare Debian root by debootstrap
    packages: tuple[str, ...] = ()
    users: tuple[User, ...] = ()
    before: tuple[Added, ...] = ()  # put in place before packages are installed: settings of their install scripts
    files: tuple[Added, ...] = ()
    commands: tuple[str, ...] = ()  # shell lines run inside after all that, as root
    running: Running = dataclasses.field(default_factory=Running)
    lock: Added | None = None  # locked Python requirements; with it the checkout's wheel, both into /opt/loomidi

    @property
    def reference(self) -> str:
        """Its full name."""
        return f"{DOMAIN}/{self.name}:{TAG}"


def _script(name: str) -> Added:
    return Added(FILES / name, f"{_BIN}/{name.removesuffix('.sh')}", 0o755)


_APP = User("app", 10001)
_POSTGRES = User("postgres", 5432, "/var/lib/postgresql")
_REDIS = User("redis", 6379, "/var/lib/redis")

_ALL = (
    Recipe(SUITE, "Debian bookworm, minimal"),
    Recipe(
        "base",
        "Debian with Python and the tools of a working pod",
        SUITE,
        packages=(
            "bind9-dnsutils",
            "ca-certificates",
            "curl",
            "iproute2",
            "iputils-ping",
            "libcap2-bin",  # with it ping gets its capability instead of setuid
            "openssl",
            "procps",
            "python3",
            "python3-aiohttp",
            "python3-asyncpg",
            "python3-prometheus-client",
            "python3-redis",
        ),
        users=(_APP,),
        running=Running(cmd=("sleep", "infinity")),
    ),
    Recipe(
        "attacker",
        "The red team's tools",
        "base",
        packages=(
            "dsniff",
            "hping3",
            "hydra",
            "iodine",
            "netcat-openbsd",
            "nmap",
            "openssh-client",
            "postgresql-client",
            "redis-tools",
            "slowhttptest",
            "sshpass",
            "stress-ng",
            "tcpdump",
        ),
        running=Running(cmd=("sleep", "infinity")),
    ),
    Recipe(
        "nginx",
        "nginx, one worker, configured by environment or a mounted file",
        "base",
        packages=("nginx",),
        files=(_script("run-nginx.sh"),),
        running=Running(("run-nginx",), user="33:33", ports=(8080,), stop_signal="SIGQUIT"),
    ),
    Recipe(
        "redis",
        "Redis in memory, optional password",
        "base",
        packages=("redis-server",),
        users=(_REDIS,),
        files=(_script("run-redis.sh"),),
        running=Running(("run-redis",), user="6379:6379", folder="/var/lib/redis", ports=(6379,)),
    ),
    Recipe(
        "postgres",
        "PostgreSQL 15, initialised at its first start",
        "base",
        packages=("postgresql-15",),
        users=(_POSTGRES,),
        before=(
            Added(FILES / "createcluster.conf", "/etc/postgresql-common/createcluster.conf"),
            Added(FILES / "postgres-slim.cfg", "/etc/dpkg/dpkg.cfg.d/postgres-slim"),
        ),
        files=(_script("run-postgres.sh"),),
        commands=(  # the key that ssl-cert made would be the same in every pod
            "rm -f /etc/ssl/private/ssl-cert-snakeoil.key /etc/ssl/certs/ssl-cert-snakeoil.pem",
            "find /etc/ssl/certs -xtype l -delete",
            "install -d -o postgres -g postgres -m 0700 /var/lib/postgresql/data",
        ),
        running=Running(
            ("run-postgres",),
            env={"PGDATA": "/var/lib/postgresql/data"},
            user="5432:5432",
            folder="/var/lib/postgresql",
            ports=(5432,),
            stop_signal="SIGINT",
        ),
    ),
    Recipe(
        "sshd",
        "OpenSSH with passwords, users by environment",
        "base",
        packages=("openssh-server",),
        files=(_script("run-sshd.sh"),),
        commands=("rm -f /etc/ssh/ssh_host_*",),  # made at each start
        running=Running(("run-sshd",), ports=(22,)),
    ),
    Recipe(
        "shop",
        "The application that the lab watches over",
        "base",
        files=(Added(LAB / "shop" / "app", "/app"),),
        commands=(f"{_COMPILE} /app",),
        running=Running(
            ("python3", "/app"), env={"PYTHONUNBUFFERED": "1"}, user="10001:10001", folder="/app", ports=(8080,)
        ),
    ),
    Recipe(
        "loomidi",
        "Loomidi: agent, pipeline and operator",
        "base",
        packages=("libatomic1", "libbpf1", "libelf1"),  # libatomic: of regopy
        files=(_script("loomidi.sh"), _script("kubermidi.sh")),
        lock=Added(CHECKOUT / "requirements-image.lock", "/opt/loomidi/requirements-image.lock"),
        commands=(
            f"{_COMPILE} /opt/loomidi",
            "test -x /opt/loomidi/bin/nats-server && ln -s /opt/loomidi/bin/nats-server /usr/local/bin/nats-server",
        ),
        running=Running(("loomidi",), cmd=("--help",)),
    ),
)
RECIPES = {recipe.name: recipe for recipe in _ALL}
DEFAULT = ("base", "attacker", "nginx", "redis", "postgres", "sshd", "shop")
ALL = (*DEFAULT, "loomidi")


def select(names: tuple[str, ...]) -> list[Recipe]:
    """Recipes of these names and of their parents, parents first. Raises UsageError for a name there is not."""
    chosen: dict[str, Recipe] = {}
    for name in names:
        for recipe in reversed(chain(name)):
            chosen.setdefault(recipe.name, recipe)
    return list(chosen.values())


def chain(name: str) -> list[Recipe]:
    """A recipe and its parents, itself first. Raises UsageError for a name there is not."""
    if name not in RECIPES:
        raise UsageError(f"there is no image {name!r}; choose from {', '.join(ALL)}")
    recipe = RECIPES[name]
    return [recipe, *(chain(recipe.parent) if recipe.parent else [])]
