"""The image of init/docker, built and run on Docker's own networks: a client's, ours, a server's.

Needs a Docker daemon. The base image is made by debootstrap where there is none of its name; Mihomo comes with the
build context.
"""

import contextlib
import ctypes
import json
import os
import re
import shutil
import socket
import subprocess
import tempfile
import threading
import time
import unittest

from house import MIHOMO, ROOT, SLOW, wait_for

IMAGE = f"clashsup-test-{os.getpid()}"
BASE = "debian:bookworm-slim"
CACHE = os.environ.get("CLASHSUP_CACHE", "/var/cache/clashsup")
LAN, WAN = "10.91.1", "45.45.91"
FAR = "45.45.92.3"  # behind the server: what is on a link of the gateway is never proxied
PORT = 7000
CONFIG = "mode: rule\nlog-level: info\nproxies: []\nrules: ['MATCH,DIRECT']\n"
_libc = ctypes.CDLL(None, use_errno=True)


def docker(*args, check=True):
    done = subprocess.run(["docker", *args], capture_output=True, text=True, errors="replace", timeout=900)
    if check and done.returncode:
        raise AssertionError(f"docker {' '.join(args)}: {done.returncode}: {(done.stdout + done.stderr)[-3000:]}")
    return done.stdout.strip()


def documented(kind):
    """The list of that name in compose.yaml, which all of its services have."""
    with open(os.path.join(ROOT, "init/docker/compose.yaml"), encoding="utf-8") as f:
        text = f.read()
    found = re.search(rf"^  {kind}:\n((?:    - .*\n)+)", text, re.M).group(1)
    return re.findall(r"- (\w+)", found)


def make_base():
    """Where containers or debootstrap reach no mirror of packages there can be no image, which is said."""
    if not docker("images", "-q", BASE):
        tree = os.path.join(CACHE, "base-bookworm.tar")
        if not os.path.exists(tree):
            os.makedirs(CACHE, exist_ok=True)
            done = subprocess.run(["debootstrap", "--variant=minbase", "bookworm", tree + ".d", mirror()],
                                  capture_output=True, text=True)
            if done.returncode:
                raise unittest.SkipTest(f"debootstrap made no base image: {done.stdout[-300:]}")
            subprocess.run(["tar", "-C", tree + ".d", "-cf", tree + ".new", "."], check=True)
            subprocess.run(["rm", "-rf", tree + ".d"], check=True)
            os.rename(tree + ".new", tree)
        docker("import", tree, BASE)
    done = subprocess.run(["docker", "run", "--rm", "--network", "host", BASE, "apt-get", "update"], capture_output=True,
                          text=True)
    if done.returncode or "Err:" in done.stdout:
        raise unittest.SkipTest(f"containers reach no mirror of packages here: {(done.stdout + done.stderr)[-300:]}")


def mirror():
    """Where this machine gets Debian's packages from."""
    text = subprocess.run(["apt-get", "indextargets", "--format", "$(SITE)", "Created-By: Packages"],
                          capture_output=True, text=True, check=True).stdout
    return text.split()[0]


def context(directory):
    """What `docker build .` would send, and Mihomo."""
    for name in ("CMakeLists.txt", "LICENSE", "CHANGELOG.md", "README.md", "include", "src", "etc", "docs",
                 "tests/mihomo/go.mod", "tests/mihomo/go.sum", "init/docker/Dockerfile", "init/systemd"):
        source, to = os.path.join(ROOT, name), os.path.join(directory, name)
        os.makedirs(os.path.dirname(to), exist_ok=True)
        (shutil.copytree if os.path.isdir(source) else shutil.copy)(source, to)
    subprocess.run(["strip", "-o", os.path.join(directory, "mihomo"), os.path.realpath(MIHOMO)], check=True)


class Container:
    def __init__(self, *args, command=("run",), name=None):
        self.name = name or f"{IMAGE}-{time.monotonic_ns()}"
        docker("create", "--name", self.name, *args, IMAGE, *command)

    def start(self):
        docker("start", self.name)
        return self

    def connect(self, network, address):
        docker("network", "connect", "--ip", address, network, self.name)

    @property
    def pid(self):
        return int(self.inspect("{{.State.Pid}}"))

    def inspect(self, what):
        return docker("inspect", "-f", what, self.name)

    def run(self, *argv, check=True):
        return docker("exec", self.name, *argv, check=check)

    def status(self):
        text = self.run("clashsup", "status", "--json", check=False)
        return json.loads(text) if text.startswith("{") else {}

    def wait_state(self, state):
        wait_for(lambda: self.status().get("state") == state, f"{state}; {docker('logs', self.name)[-800:]}", 20)

    def inside(self, *argv):
        """A program of this machine in the container's network."""
        return subprocess.run(["nsenter", "-t", str(self.pid), "-n", "--", *argv], capture_output=True, text=True,
                              check=True).stdout

    def socket(self, kind=socket.SOCK_STREAM):
        with open("/proc/thread-self/ns/net", "rb") as home, open(f"/proc/{self.pid}/ns/net", "rb") as there:
            if _libc.setns(there.fileno(), 0x40000000):
                raise OSError(ctypes.get_errno(), "setns")
            try:
                return socket.socket(socket.AF_INET, kind)
            finally:
                if _libc.setns(home.fileno(), 0x40000000):
                    os._exit(70)

    def remove(self):
        docker("rm", "-f", "-v", self.name, check=False)


def make_image():
    """Once for all classes."""
    if docker("images", "-q", IMAGE):
        return
    make_base()
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as directory:
        context(directory)
        docker("build", "--network", "host", "-q", "-t", IMAGE, "--build-arg", f"GO={BASE}",
               "-f", f"{directory}/init/docker/Dockerfile", directory)
    unittest.addModuleCleanup(docker, "rmi", "-f", IMAGE, check=False)
    size, base = (int(docker("image", "inspect", "-f", "{{.Size}}", i)) // 1000000 for i in (IMAGE, BASE))
    print(f"     image: {size} MB, of it {base} MB {BASE}; built in {time.monotonic() - began:.0f} s", flush=True)


class DockerCase(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        if subprocess.run(["docker", "info"], capture_output=True).returncode:
            raise unittest.SkipTest("there is no Docker daemon here: the image is not tested")
        make_image()

    def home(self, config=CONFIG):
        directory = f"/tmp/{IMAGE}-{time.monotonic_ns()}"
        os.mkdir(directory)
        self.addCleanup(subprocess.run, ["rm", "-rf", directory])
        if config:
            with open(os.path.join(directory, "config.yaml"), "w", encoding="utf-8") as f:
                f.write(config)
        return directory


class Image(DockerCase):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        for name, net in (("lan", LAN), ("wan", WAN)):
            network = f"{IMAGE}-{name}"
            docker("network", "create", "--subnet", f"{net}.0/24", network)
            cls.addClassCleanup(docker, "network", "rm", network, check=False)
        cls.lan, cls.wan = f"{IMAGE}-lan", f"{IMAGE}-wan"
        cls.client = cls.container("--network", cls.lan, "--ip", f"{LAN}.3", "--cap-add", "NET_ADMIN",
                                   command=("sleep", "3600")).start()
        cls.server = cls.container("--network", cls.wan, "--ip", f"{WAN}.3", "--cap-add", "NET_ADMIN",
                                   command=("sleep", "3600")).start()
        cls.client.inside("ip", "route", "replace", "default", "via", f"{LAN}.2")
        cls.server.inside("ip", "route", "replace", f"{LAN}.0/24", "via", f"{WAN}.2")
        cls.server.inside("ip", "address", "add", f"{FAR}/32", "dev", "lo")
        cls.serve()

    @classmethod
    def container(cls, *args, **kw):
        made = Container(*args, **kw)
        cls.addClassCleanup(made.remove)
        return made

    @classmethod
    def serve(cls):
        """Answers each connection with the peer that it saw."""
        listener = cls.server.socket()
        listener.bind(("0.0.0.0", PORT))
        listener.listen(64)
        cls.addClassCleanup(listener.close)

        def loop():
            with contextlib.suppress(OSError):
                while True:
                    peer, address = listener.accept()
                    with peer, contextlib.suppress(OSError):
                        peer.sendall(address[0].encode())

        threading.Thread(target=loop, daemon=True).start()

    def via(self, timeout=1.0):
        """proxied, direct or lost."""
        with self.client.socket() as s:
            s.settimeout(timeout * SLOW)
            try:
                s.connect((FAR, PORT))
                seen = s.recv(64).decode()
            except OSError:
                return "lost"
        return {f"{WAN}.2": "proxied", f"{LAN}.3": "direct"}.get(seen, seen)

    def network(self):
        """A network namespace that outlives the gateway in it."""
        holder = Container("--network", self.lan, "--ip", f"{LAN}.2", "--sysctl", "net.ipv4.ip_forward=1",
                           command=("sleep", "3600"))
        self.addCleanup(holder.remove)
        holder.connect(self.wan, f"{WAN}.2")
        holder.start()
        holder.inside("ip", "route", "add", FAR, "via", f"{WAN}.3")
        return holder

    def gateway(self, *args, network=None, start=True):
        caps = [word for cap in documented("cap_add") for word in ("--cap-add", cap)]
        where = ["--network", f"container:{network.name}"] if network else ["--network", "none"]
        made = Container("--cap-drop", "ALL", *caps, "-v", f"{self.home()}:/etc/clash", *where, *args)
        self.addCleanup(made.remove)
        return made.start() if start else made

    def traces(self, network):
        """What of ours is in a network namespace."""
        lines = network.inside("iptables-save") + network.inside("ip6tables-save")
        found = [l for l in lines.splitlines() if re.search(r"clash", l, re.I)]
        found += [l for l in network.inside("ipset", "list", "-n").splitlines() if "clash" in l]
        found += [l for l in network.inside("ip", "rule").splitlines() if "fwmark" in l]
        return found + network.inside("ip", "route", "show", "table", "100").splitlines()

    # ---- cases ----

    def test_a_gateway_from_its_start_to_its_stop(self):
        network = self.network()
        gateway = self.gateway(network=network)
        gateway.wait_state("armed")
        self.assertEqual(self.via(), "proxied")
        self.assertIn("CLASH_TPROXY", network.inside("iptables-save"))
        status = gateway.status()
        self.assertIn("IPv6", status["tproxy"]["ipv6"], "left out with its reason, and no error")
        gateway.run("clashsup", "stop")
        wait_for(lambda: self.via() == "direct", "direct without Mihomo")
        gateway.run("clashsup", "start")
        gateway.wait_state("armed")
        self.assertEqual(self.via(), "proxied")
        pid = gateway.status()["mihomo"]["pid"]
        gateway.run("sh", "-c", f"kill -9 {pid}")
        wait_for(lambda: gateway.status()["mihomo"]["pid"] not in (None, pid), "another Mihomo")
        gateway.wait_state("armed")
        self.assertEqual(self.via(), "proxied")
        wait_for(lambda: gateway.inspect("{{.State.Health.Status}}") == "healthy", "healthy", 60)
        self.assertNotEqual(self.traces(network), [])
        began = time.monotonic()
        docker("stop", gateway.name)
        took = time.monotonic() - began
        self.assertLess(took, 3 * SLOW)
        print(f"     docker stop: {took:.2f} s", flush=True)
        self.assertEqual(gateway.inspect("{{.State.ExitCode}}"), "0")
        self.assertEqual(self.traces(network), [])
        self.assertEqual(self.via(), "direct")

    def test_docker_kill_leaves_the_lease_at_most(self):
        network = self.network()
        gateway = self.gateway(network=network)
        gateway.wait_state("armed")
        self.assertEqual(self.via(), "proxied")
        docker("kill", gateway.name)
        began = time.monotonic()
        while self.via(0.2) != "direct":
            self.assertLess(time.monotonic() - began, 2 * 3.2 * SLOW)
        print(f"     docker kill: direct after {time.monotonic() - began:.2f} s", flush=True)
        again = self.gateway(network=network)
        again.wait_state("armed")
        self.assertEqual(self.via(), "proxied")
        docker("stop", again.name)
        self.assertEqual(self.traces(network), [])

    def test_an_oom_killed_mihomo_comes_back(self):
        gateway = self.gateway("--memory", "256m", "--memory-swap", "256m", "--sysctl", "net.ipv4.ip_forward=1")
        gateway.wait_state("armed")
        docker("update", "--memory", "12m", "--memory-swap", "12m", gateway.name)
        wait_for(lambda: any(d["oom"] for d in gateway.status().get("history", [])), "a death for want of memory", 20)
        docker("update", "--memory", "256m", "--memory-swap", "256m", gateway.name)
        gateway.run("clashsup", "restart")
        gateway.wait_state("armed")
        self.assertEqual(gateway.inspect("{{.State.Running}} {{.RestartCount}}"), "true 0", "it was not us")

    def test_a_read_only_root(self):
        gateway = self.gateway("--read-only", "--tmpfs", "/run", "--tmpfs", "/tmp", "--sysctl", "net.ipv4.ip_forward=1")
        gateway.wait_state("armed")
        docker("stop", gateway.name)
        self.assertEqual(gateway.inspect("{{.State.ExitCode}}"), "0")

    def test_a_variable_is_a_key(self):
        gateway = self.gateway("-e", "CLASHSUP_TPROXY_MODE=mixed")
        gateway.wait_state("mixed")
        gateway = self.gateway("-e", "CLASHSUP_TPROXY_MODUS=mixed")
        wait_for(lambda: gateway.inspect("{{.State.Running}}") == "false", "its end")
        logs = subprocess.run(["docker", "logs", gateway.name], capture_output=True, text=True)
        self.assertIn('CLASHSUP_TPROXY_MODUS: unknown key "modus"', logs.stdout + logs.stderr)

    def test_another_program_in_its_place(self):
        done = subprocess.run(["docker", "run", "--rm", IMAGE, "sh", "-c", "echo hello; exit 5"], capture_output=True,
                              text=True)
        self.assertEqual((done.returncode, done.stdout), (5, "hello\n"))
        self.assertEqual(docker("run", "--rm", IMAGE, "-V"), "clashsup 0.1.0")

    def test_mihomo_is_not_root(self):
        gateway = self.gateway("--sysctl", "net.ipv4.ip_forward=1")
        gateway.wait_state("armed")
        pid = gateway.status()["mihomo"]["pid"]
        self.assertEqual(gateway.run("stat", "-c", "%U", f"/proc/{pid}"), "mihomo")
        self.assertEqual(gateway.run("stat", "-c", "%U", "/proc/1"), "root")


class SystemdCase(DockerCase):
    """A container whose PID 1 is a real systemd."""

    def boot(self, dockerfile, files=()):
        """An image by these lines, with files beside them; its container runs."""
        image = f"{IMAGE}-systemd-{time.monotonic_ns()}"
        with tempfile.TemporaryDirectory() as directory:
            for path in files:
                shutil.copy(path, directory)
            with open(os.path.join(directory, "Dockerfile"), "w", encoding="ascii") as f:
                f.write(dockerfile + 'ENTRYPOINT ["/lib/systemd/systemd"]\nCMD []\n')
            docker("build", "--network", "host", "-q", "-t", image, directory)
        self.addCleanup(docker, "rmi", "-f", image, check=False)
        self.name = f"{image}-1"
        caps = [w for cap in ("SYS_ADMIN", "NET_ADMIN", "NET_RAW", "SYS_PTRACE") for w in ("--cap-add", cap)]
        self.addCleanup(docker, "rm", "-f", "-v", self.name, check=False)
        try:
            docker("run", "-d", "--name", self.name, *caps, "--security-opt", "seccomp=unconfined", "--tmpfs", "/run",
                   "--tmpfs", "/run/lock", "--tmpfs", "/tmp:exec", "-v", "/sys/fs/cgroup:/sys/fs/cgroup", "-e",
                   "container=docker", "--sysctl", "net.ipv4.ip_forward=1", "-v", f"{self.home()}:/etc/clash", image)
            wait_for(lambda: self.run_in("systemctl", "is-system-running") in ("running", "degraded"), "systemd", 30)
        except AssertionError as e:
            self.skipTest(f"systemd itself does not run in a container here: {str(e)[-300:]}")

    def run_in(self, *argv, check=False):
        return docker("exec", self.name, *argv, check=check)

    def shows(self, what):
        return self.run_in("systemctl", "show", "-P", what, "clashsup")

    def status(self):
        text = self.run_in("clashsup", "status", "--json")
        return json.loads(text) if text.startswith("{") else {}

    def armed(self):
        wait_for(lambda: self.status().get("state") == "armed", "armed", 20)
        return self.status()["mihomo"]["pid"]

    def assertNothingOfOursInTheKernel(self):
        self.assertNotIn("clash", self.run_in("iptables-save").lower())
        self.assertNotIn("clash", self.run_in("ipset", "list", "-n"))
        self.assertNotIn("fwmark", self.run_in("ip", "rule"))


INSTALL = "RUN apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends"


class Systemd(SystemdCase):
    """The service of init/systemd."""

    def test_start_reload_reexec_restart_watchdog_stop(self):
        self.boot(f"""FROM {IMAGE}
{INSTALL} systemd systemd-sysv iproute2
RUN systemctl enable clashsup && mkdir /etc/systemd/system/clashsup.service.d && \\
	printf '[Service]\\nWatchdogSec=2s\\n' >/etc/systemd/system/clashsup.service.d/test.conf
""")
        mihomo, pid = self.armed(), self.shows("MainPID")
        self.assertEqual(self.shows("ActiveState"), "active")
        wait_for(lambda: self.shows("StatusText").startswith("armed"), "the status line", 5)
        journal = self.run_in("journalctl", "-u", "clashsup", "-o", "cat")
        for line in ("Creating empty ipset clash_proxy_ips", "TProxy applied successfully", "Mihomo is healthy"):
            self.assertIn(line, journal, "the lines that scripts know")
        self.run_in("systemctl", "reload", "clashsup", check=True)
        self.assertEqual(self.shows("ActiveState"), "active")
        self.run_in("clashsup", "reexec", check=True)
        time.sleep(3 * SLOW)  # more than the watchdog's time
        self.assertEqual((self.shows("MainPID"), self.armed()), (pid, mihomo))
        self.assertEqual(self.shows("NRestarts"), "0")
        self.run_in("sh", "-c", f"kill -STOP {pid}", check=True)
        wait_for(lambda: self.shows("NRestarts") == "1", "the watchdog's restart", 20)
        self.assertNotEqual(self.armed(), mihomo)
        self.assertNotEqual(self.shows("MainPID"), pid)
        pid = self.shows("MainPID")
        self.run_in("systemctl", "restart", "clashsup", check=True)
        self.armed()
        self.assertNotEqual(self.shows("MainPID"), pid)
        self.run_in("systemctl", "stop", "clashsup", check=True)
        self.assertEqual((self.shows("ActiveState"), self.shows("Result")), ("inactive", "success"))
        self.assertNothingOfOursInTheKernel()
        self.assertEqual(self.run_in("systemctl", "is-system-running"), "running", "modules and users too")
        said = self.run_in("systemd-analyze", "security", "clashsup", "--no-pager").splitlines()[-1]
        print(f"     {said.strip()}", flush=True)


class Deb(SystemdCase):
    """The package, in a root of Debian's minimum with systemd."""

    def packages(self, directory):
        """Two versions of it."""
        build = os.path.join(directory, "build")
        for argv in (["cmake", "-S", ROOT, "-B", build, "-G", "Ninja", "-DCMAKE_BUILD_TYPE=RelWithDebInfo",
                      "-DCMAKE_INSTALL_PREFIX=/usr", "-DCMAKE_INSTALL_SYSCONFDIR=/etc", "-DBUILD_TESTING=OFF"],
                     ["cmake", "--build", build], *(["cpack", "--config", f"{build}/CPackConfig.cmake", "-B", directory,
                                                     "-D", f"CPACK_PACKAGE_VERSION={v}"] for v in ("0.1.0", "0.1.1"))):
            done = subprocess.run(argv, capture_output=True, text=True)
            self.assertEqual(done.returncode, 0, done.stdout[-2000:] + done.stderr[-2000:])
        return [os.path.join(directory, f"clashsup_{v}_amd64.deb") for v in ("0.1.0", "0.1.1")]

    def test_install_start_upgrade_purge(self):
        with tempfile.TemporaryDirectory() as directory:
            old, new = self.packages(directory)
            subprocess.run(["strip", "-o", f"{directory}/mihomo", os.path.realpath(MIHOMO)], check=True)
            self.boot(f"""FROM {BASE}
{INSTALL} systemd systemd-sysv iproute2 iptables ipset
COPY mihomo /usr/bin/
COPY clashsup_0.1.0_amd64.deb clashsup_0.1.1_amd64.deb /root/
{INSTALL} $(dpkg-deb -f /root/clashsup_0.1.0_amd64.deb Depends | sed 's/([^)]*)//g; s/,//g')
""", [old, new, f"{directory}/mihomo"])
        # Not in the image: over what is in a lower layer some storage drivers bring removed files back.
        self.run_in("dpkg", "-i", "/root/clashsup_0.1.0_amd64.deb", check=True)
        self.assertIn("mihomo", self.run_in("getent", "passwd", "mihomo", check=True))
        before = self.run_in("dpkg-query", "-L", "clashsup", check=True).splitlines()
        self.run_in("systemctl", "enable", "--now", "clashsup", check=True)
        mihomo, pid = self.armed(), self.shows("MainPID")
        self.run_in("dpkg", "-i", "/root/clashsup_0.1.1_amd64.deb", check=True)
        self.assertEqual((self.armed(), self.shows("MainPID"), self.status()["deaths"]), (mihomo, pid, 0))
        self.assertIn("reexeced", self.run_in("clashsup", "events"))
        self.assertEqual(self.run_in("dpkg-query", "-W", "-f", "${Version}", "clashsup"), "0.1.1")
        self.run_in("dpkg", "--purge", "clashsup", check=True)
        self.assertNothingOfOursInTheKernel()
        left = [path for path in before if self.run_in("sh", "-c", f"[ -f '{path}' ] && echo there")]
        self.assertEqual(left + self.run_in("sh", "-c", "ls -d /var/lib/clashsup /run/clashsup 2>/dev/null").split(), [])
        self.assertNotRegex(self.run_in("sh", "-c", "cat /proc/[0-9]*/comm"), "mihomo|clashsup")


if __name__ == "__main__":
    unittest.main()
