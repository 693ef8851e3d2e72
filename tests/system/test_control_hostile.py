"""The control socket of a running supervisor among hasty, silent, greedy and foreign clients."""

import contextlib
import grp
import json
import os
import socket
import threading
import time

from house import BUILD, SLOW, HouseCase, Supervisor, alive, wait_for

STANDIN = os.path.join(BUILD, "tests", "standin")
STATUS = b'{"version":1,"cmd":"status"}\n'
IPS = b'{"version":1,"cmd":"ips"}\n'
STOP = b'{"version":1,"cmd":"stop"}\n'
REQUEST_MAX = 4096
CLIENTS = 32
IDLE = 10  # seconds
NOBODY = 65534


class Line:
    """One connection to the control socket."""

    def __init__(self, path, timeout=5.0):
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.socket.settimeout(timeout * SLOW)
        self.rest = b""
        deadline = time.monotonic() + timeout * SLOW
        while True:
            try:
                self.socket.connect(path)
                return
            except BlockingIOError:  # its backlog is full: 16 are taken a turn
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.001)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()

    def send(self, data):
        self.socket.sendall(data)
        return self

    def answer(self):
        """The next line as an object; None when the supervisor has closed."""
        while b"\n" not in self.rest:
            try:
                more = self.socket.recv(65536)
            except ConnectionResetError:
                return None
            if not more:
                return None
            self.rest += more
        line, _, self.rest = self.rest.partition(b"\n")
        return json.loads(line)

    def closed(self):
        return self.answer() is None


class ControlCase(HouseCase):
    """One supervisor for all cases of a class: what one of them does must not hurt the next."""

    conf = {}

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.sup = Supervisor(cls.house, conf={"mihomo": {"binary": STANDIN}, **cls.conf})
        cls.enterClassContext(cls.sup)
        cls.sup.wait_state("armed")
        os.chmod(cls.sup.dir, 0o755)
        cls.path = os.path.join(cls.sup.rundir, "control.sock")

    def tearDown(self):
        """It is still there, answers, and holds no more than before."""
        self.assertIsNone(self.sup.process.poll())
        self.assertOk(self.ask(STATUS))
        self.assertEqual(self.sup.status()["state"], "armed")

    def line(self, timeout=5.0):
        return Line(self.path, timeout)

    def ask(self, data):
        with self.line() as line:
            return line.send(data).answer()

    def assertOk(self, answer):
        self.assertIsNotNone(answer, "closed without an answer")
        self.assertIs(answer["ok"], True, answer)

    def assertError(self, answer, sentence):
        self.assertIsNotNone(answer, "closed without an answer")
        self.assertEqual((answer["ok"], answer["error"]), (False, sentence))


class Requests(ControlCase):
    def test_two_requests_in_one_write_get_two_answers_in_their_order(self):
        with self.line() as line:
            line.send(STATUS + IPS)
            self.assertIn("status", line.answer())
            self.assertIn("ips", line.answer())

    def test_a_hundred_requests_in_one_write_are_all_answered(self):
        with self.line() as line:
            line.send(STATUS * 100)
            for _ in range(100):
                self.assertOk(line.answer())

    def test_half_a_request_then_the_rest(self):
        with self.line() as line:
            line.send(STATUS[:11])
            time.sleep(0.2)
            line.send(STATUS[11:])
            self.assertOk(line.answer())

    def test_a_request_a_byte_at_a_time(self):
        with self.line() as line:
            for i in range(len(STATUS)):
                line.send(STATUS[i:i + 1])
            self.assertOk(line.answer())

    def test_one_and_a_half_requests_then_the_rest(self):
        with self.line() as line:
            line.send(STATUS + IPS[:5])
            self.assertIn("status", line.answer())
            line.send(IPS[5:])
            self.assertIn("ips", line.answer())

    def test_half_a_request_and_the_end_is_no_request(self):
        with self.line() as line:
            line.send(STOP[:-1])
            line.socket.shutdown(socket.SHUT_WR)
            self.assertTrue(line.closed())

    def test_a_client_that_closes_before_its_answer_is_no_harm(self):
        for _ in range(200):
            with self.line() as line:
                line.send(STATUS * 3)

    def test_a_request_may_be_as_long_as_its_limit_and_no_longer(self):
        body = b'{"version":1,"cmd":"status","x":"%s"}'
        longest = body % (b"x" * (REQUEST_MAX - len(body) + 2))
        self.assertEqual(len(longest), REQUEST_MAX)
        self.assertOk(self.ask(longest + b"\n"))
        longer = body % (b"x" * (REQUEST_MAX - len(body) + 3))
        with self.line() as line:
            line.send(longer + b"\n")
            self.assertError(line.answer(), "the request is longer than a request can be")
            self.assertTrue(line.closed())

    def test_a_mebibyte_of_garbage_is_refused_and_not_kept(self):
        for garbage in (b"\0" * (1 << 20), os.urandom(1 << 20), b"{" * (1 << 20), b'{"version":1,"cmd":"' * 50000):
            before = self.memory()
            with self.line() as line:
                with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                    line.send(garbage)
                answer = line.answer()
                self.assertTrue(answer is None or answer["ok"] is False)
            self.assertLess(self.memory() - before, 256, "KiB more")

    def test_a_mebibyte_of_requests_is_answered(self):
        request = b'{"version":1,"cmd":"status","x":"%s"}\n'
        request %= b"x" * (REQUEST_MAX - len(request) + 2)
        with self.line(30) as line:
            sender = threading.Thread(target=line.socket.sendall, args=(request * 256,))
            sender.start()
            for _ in range(256):
                self.assertOk(line.answer())
            sender.join()

    def memory(self):
        with open(f"/proc/{self.sup.process.pid}/status", encoding="utf-8") as f:
            return int(next(line for line in f if line.startswith("VmRSS:")).split()[1])

    def test_no_request_is_answered_with_the_reason_and_closed(self):
        for request, sentence in (
            (b"\n", "a request is one line of JSON"),
            (b"status\n", "a request is one line of JSON"),
            (b"GET / HTTP/1.1\r\n", "a request is one line of JSON"),
            (b"[]\n", "a request is a JSON object"),
            (b"{}\n", 'a request needs "version": 1'),
            (b'{"version":1}\n', 'a request needs "cmd": a command\'s name'),
            (b'{"version":1,"cmd":"dance"}\n', 'unknown command "dance"'),
            (b'{"version":1,"cmd":"sta\0tus"}\n', "a NUL byte in a request"),
            (b'{"version":1,"cmd":"status"}{}\n', "more than one value in a line"),
        ):
            with self.subTest(request), self.line() as line:
                self.assertError(line.send(request + STATUS).answer(), sentence)
                self.assertTrue(line.closed(), "what follows is not read")

    def test_a_wrong_version_is_refused(self):
        for version in (b"0", b"2", b"1.5", b"-1", b'"1"', b"null", b"1e400", b"[1]"):
            with self.subTest(version), self.line() as line:
                self.assertError(
                    line.send(b'{"version":%s,"cmd":"status"}\n' % version).answer(), 'a request needs "version": 1'
                )
                self.assertTrue(line.closed())

    def test_deeply_nested_json_is_refused(self):
        with self.line() as line:
            line.send(b'{"version":1,"cmd":"status","x":' + b"[" * 3000 + b"]" * 1000 + b"}\n")
            self.assertIs(line.answer()["ok"], False)


class Crowds(ControlCase):
    def test_with_a_thousand_idle_clients_a_new_one_is_answered(self):
        with contextlib.ExitStack() as stack:
            for _ in range(1000):
                stack.enter_context(self.line())
            start = time.monotonic()
            self.assertOk(self.ask(STATUS))
            self.assertLess(time.monotonic() - start, 5 * SLOW)
            self.assertIn(self.connections(), (CLIENTS - 1, CLIENTS))
        self.assertEqual(self.sup.ctl_done("status").returncode, 0)

    def test_with_a_thousand_half_requests_a_new_one_is_answered(self):
        with contextlib.ExitStack() as stack:
            for _ in range(1000):
                with contextlib.suppress(BrokenPipeError):
                    stack.enter_context(self.line()).send(STATUS[:10])
            self.assertOk(self.ask(STATUS))

    def test_strangers_do_not_take_the_place_of_those_with_control(self):
        with self.line() as mine:
            self.assertOk(mine.send(STATUS).answer())
            as_user(NOBODY, [], lambda: crowd(self.path, 200))
            self.assertOk(mine.send(IPS).answer())

    def test_an_idle_client_is_closed_in_time(self):
        with self.line(IDLE * 2) as line:
            start = time.monotonic()
            self.assertTrue(line.closed())
            self.assertGreater(time.monotonic() - start, IDLE * 0.8)

    def connections(self):
        """Sockets of the supervisor's that came in by its control socket."""
        with open("/proc/net/unix", encoding="utf-8") as f:  # such a socket is in the network namespace of its client
            theirs = {line.split()[6] for line in f if line.rstrip().endswith(self.path) and line.split()[3] == "00000000"}
        held = 0
        for fd in os.listdir(f"/proc/{self.sup.process.pid}/fd"):
            with contextlib.suppress(OSError):
                held += os.readlink(f"/proc/{self.sup.process.pid}/fd/{fd}")[len("socket:["):-1] in theirs
        return held


class Greedy(ControlCase):
    """A long answer: 20,000 addresses are some 350 KB, more than a socket's buffer holds."""

    N = 20000

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        nodes = "".join(
            f"  - {{name: n{i}, type: socks5, server: 45.{50 + i // 65536}.{i // 256 % 256}.{i % 256}, port: 1}}\n"
            for i in range(cls.N)
        )
        cls.sup.write("many.yaml", "proxies:\n" + nodes)
        cls.sup.ctl("refresh")
        cls.sup.wait_status(lambda s: s["ipset"]["ipv4"] >= cls.N, "all addresses known", 30)

    def test_a_client_that_never_reads_keeps_nobody_waiting_and_is_closed(self):
        with contextlib.ExitStack() as stack:
            lines = [stack.enter_context(self.line(IDLE * 2)) for _ in range(20)]
            for line in lines:
                line.send(IPS * 3)
            start = time.monotonic()
            self.assertOk(self.ask(STATUS))
            self.assertLess(time.monotonic() - start, 2 * SLOW)
            time.sleep(IDLE + 1)
            for line in lines:
                got = line.rest
                with contextlib.suppress(OSError):
                    while more := line.socket.recv(1 << 20):
                        got += more
                self.assertLess(got.count(b"\n"), 3, "closed before its last answer was out")

    def test_a_slow_reader_gets_all_of_it(self):
        with self.line(20) as line:
            line.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            line.send(IPS)
            data = b""
            while not data.endswith(b"\n"):
                data += line.socket.recv(4096)
            self.assertGreaterEqual(len(json.loads(data)["ips"]), self.N)

    def test_a_reader_that_goes_away_in_the_middle_is_no_harm(self):
        for _ in range(50):
            with self.line() as line:
                line.send(IPS)
                line.socket.recv(1000)

    def test_the_child_is_watched_while_clients_do_not_read(self):
        with contextlib.ExitStack() as stack:
            for _ in range(20):
                stack.enter_context(self.line()).send(IPS * 3)
            before = self.sup.kill_mihomo()
            self.sup.wait_status(lambda s: s["state"] == "armed" and s["mihomo"]["pid"] != before, "armed anew")
            wait_for(lambda: not alive(before), "its end")


class Rights(ControlCase):
    group = next(g for g in grp.getgrall() if g.gr_gid not in (0, NOBODY))
    conf = {"control": {"control_group": group.gr_name}}

    def asked_as(self, gid, groups, request):
        return as_user(gid, groups, lambda: ask_at(self.path, request))

    def test_another_uid_may_ask_for_the_status_alone(self):
        self.assertOk(self.asked_as(NOBODY, [], STATUS))
        for cmd in ("start", "stop", "restart", "shutdown", "refresh", "ips", "reload", "reexec", "logs", "events"):
            with self.subTest(cmd):
                self.assertError(
                    self.asked_as(NOBODY, [], b'{"version":1,"cmd":"%s"}\n' % cmd.encode()),
                    f"{cmd} is for root, the supervisor's user and members of control_group",
                )
        for cmd, member in (("mode", b'"mode":"mixed"'), ("signal", b'"signal":"KILL"')):
            with self.subTest(cmd):
                self.assertError(
                    self.asked_as(NOBODY, [], b'{"version":1,"cmd":"%s",%s}\n' % (cmd.encode(), member)),
                    f"{cmd} is for root, the supervisor's user and members of control_group",
                )

    def test_another_uid_sees_no_file_names_in_the_status(self):
        self.assertIsNone(self.asked_as(NOBODY, [], STATUS)["status"]["repairs"]["last"])

    def test_control_group_as_its_own_group_is_enough(self):
        self.assertIn("ips", self.asked_as(self.group.gr_gid, [], IPS))

    def test_control_group_among_its_groups_is_enough(self):
        self.assertIn("ips", self.asked_as(NOBODY, [self.group.gr_gid], IPS))

    def test_rights_are_those_of_the_moment_of_connecting(self):
        with self.line() as line:  # root's, handed to somebody else
            answer = as_user(NOBODY, [], lambda: line.send(IPS).answer())
        self.assertIn("ips", answer)


def ask_at(path, request):
    with Line(path) as line:
        return line.send(request).answer()


def crowd(path, n):
    """Leaves n connections open until the process ends."""
    kept = [Line(path) for _ in range(n)]
    time.sleep(0.3)
    return len(kept)


def as_user(gid, groups, work):
    """What work() returns in a process of nobody's with this gid and these groups."""
    reads, writes = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.setgroups(groups)
            os.setresgid(gid, gid, gid)
            os.setresuid(NOBODY, NOBODY, NOBODY)
            os.write(writes, json.dumps(work()).encode())
        finally:
            os._exit(0)
    os.close(writes)
    with os.fdopen(reads, "rb") as f:
        text = f.read()
    os.waitpid(pid, 0)
    if not text:
        raise AssertionError("the other user's process failed")
    return json.loads(text)
