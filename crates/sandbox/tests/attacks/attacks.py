# What a function that means harm tries, one function for each attempt. Run inside an environment as
# `python3 -c <this file> <name>`; says THROUGH if it achieved its aim, STOPPED if it was refused.
import ctypes, errno, json, mmap, os, resource, signal, socket, struct, sys, threading, time

FACTS = json.loads(os.environ["FACTS"])
TASK = "/var/task"
libc = ctypes.CDLL(None, use_errno=True)
libc.syscall.restype = ctypes.c_long


def call(number, *arguments):
    """One system call by its number; an OSError if it fails."""
    kinds = [ctypes.c_long(a) if isinstance(a, int) else a for a in arguments]
    result = libc.syscall(ctypes.c_long(number), *kinds)
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return result


def started(number, *arguments):
    """Whether the kernel went as far as looking at the arguments: any error but a refusal."""
    try:
        call(number, *arguments)
    except OSError as error:
        return error.errno not in (errno.EPERM, errno.ENOSYS, errno.EACCES)
    return True


# Files

def read_a_file_of_the_host(): return "secret" in open(FACTS["secret"]).read()
def list_the_folders_of_the_host(): return os.path.basename(FACTS["folder"]) in os.listdir(os.path.dirname(FACTS["folder"]))
def read_the_users_of_the_host(): return "daemon:" in open("/etc/passwd").read()
def read_the_packages_of_the_host(): return len(os.listdir("/etc/apt")) > 0
def read_the_kernel_s_command_line(): return len(open("/proc/cmdline").read()) > 1
def read_the_disks_of_the_host(): return len(open("/proc/partitions").read()) > 40
def read_the_interrupts_of_the_host(): return len(open("/proc/interrupts").read()) > 40
def read_the_symbols_of_the_kernel(): return len(open("/proc/kallsyms").readline()) > 10
def read_the_memory_map_of_the_host(): return len(open("/proc/iomem").read()) > 40
def open_a_terminal(): return os.open("/dev/ptmx", os.O_RDWR | os.O_NOCTTY) >= 0
def see_the_devices_of_the_host(): return len(os.listdir("/dev")) > 12
def open_a_device_of_the_package(): return len(os.read(os.open(TASK + "/device", os.O_RDONLY), 4)) == 4
def run_a_set_user_id_program_of_the_package(): return os.popen(TASK + "/become-root -u").read().strip() == "0"


def add_a_file_to_the_code():
    open(TASK + f"/added-{os.getpid()}-{time.time_ns()}", "w").close()
    return True


def change_a_file_of_the_code():
    with open(TASK + "/writable", "r+") as file:
        file.write("x")
    return True


def remove_a_file_of_the_code():
    os.unlink(TASK + "/removable")
    return True


def link_out_of_the_code():
    os.symlink("/etc", TASK + f"/link-{time.time_ns()}")
    return True


def read_through_a_forgotten_descriptor():
    return "secret" in os.fdopen(os.open("secret", os.O_RDONLY, dir_fd=FACTS["leak"])).read()


def write_through_a_forgotten_descriptor():
    return os.open(f"left-{time.time_ns()}", os.O_CREAT | os.O_WRONLY, dir_fd=FACTS["leak"]) >= 0


# Processes

def see_a_process_of_the_host(): return "sleep" in open(f"/proc/{FACTS['victim']}/cmdline").read()
def read_the_variables_of_a_neighbour(): return b"PATH" in open(f"/proc/{FACTS['neighbour']}/environ", "rb").read()
def read_the_variables_of_init(): return b"PATH" in open("/proc/1/environ", "rb").read()


def signal_a_neighbour():
    os.kill(FACTS["neighbour"], 0)
    return True


def signal_init():
    os.kill(1, 0)
    return True


def move_a_neighbour_to_one_processor():
    os.sched_setaffinity(FACTS["neighbour"], {0})
    return True


# Network

def connect(address, family=socket.AF_INET):
    with socket.socket(family, socket.SOCK_STREAM) as stream:
        stream.settimeout(1.5)
        stream.connect(address)
        return stream.recv(5) == b"hello"


def gateway():
    for line in open("/proc/net/route").read().splitlines()[1:]:
        fields = line.split()
        if fields[1] == "00000000":
            return socket.inet_ntoa(struct.pack("<I", int(fields[2], 16)))
    raise OSError(errno.ENETUNREACH, "no route")


def reach_a_service_on_the_host_s_loopback(): return connect(("127.0.0.1", FACTS["port"]))
def reach_an_abstract_socket_of_the_host(): return connect("\0" + FACTS["abstract"], socket.AF_UNIX)
def reach_the_host_by_its_end_of_the_link(): return connect((gateway(), FACTS["port"]))
def reach_the_instance_s_metadata(): return connect(("169.254.169.254", FACTS["port"]))
def reach_a_neighbour(): return connect((FACTS["neighbour_address"], 7000))
def open_a_raw_socket(): return socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP) is not None
def listen_to_all_packets(): return socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0) is not None
def use_generic_netlink(): return socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 16) is not None
def hear_the_kernel_s_events(): return socket.socket(socket.AF_NETLINK, socket.SOCK_DGRAM, 15) is not None
def make_a_pair_of_another_family(): return started(53, socket.AF_NETLINK, socket.SOCK_STREAM, 0, ctypes.create_string_buffer(8))


def take_the_loopback_down():
    import fcntl
    with socket.socket() as any_socket:
        fcntl.ioctl(any_socket, 0x8914, struct.pack("16sh14x", b"lo", 0))
    return True


# What belongs to the kernel

def attach_shared_memory_of_the_host():
    return call(29, FACTS["key"], 0, 0) >= 0


def open_a_message_queue_of_the_host(): return call(68, FACTS["key"], 0) >= 0
def open_semaphores_of_the_host(): return call(64, FACTS["key"], 0, 0) >= 0
def learn_the_host_s_name(): return socket.gethostname() == FACTS["hostname"]
def see_the_host_s_control_groups(): return "lambic-" in open("/proc/self/cgroup").read()


def change_the_host_name():
    name = b"mine"
    call(170, name, len(name))
    return socket.gethostname() == "mine"


NEW_USER, NEW_NET, NEW_MOUNTS = 0x10000000, 0x40000000, 0x00020000


def in_a_child(work):
    """Some attempts change the process that makes them."""
    pid = os.fork()
    if pid == 0:
        try:
            os._exit(0 if work() else 1)
        except OSError:
            os._exit(2)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


def make_a_user_namespace(): return in_a_child(lambda: call(272, NEW_USER) == 0)
def make_a_network_namespace(): return in_a_child(lambda: call(272, NEW_NET) == 0)
def make_a_mount_namespace(): return in_a_child(lambda: call(272, NEW_MOUNTS) == 0)


def clone_into_a_user_namespace():
    pid = call(56, NEW_USER | signal.SIGCHLD, 0, 0, 0, 0)
    if pid == 0:
        os._exit(0)
    os.waitpid(pid, 0)
    return True


def clone3_into_a_user_namespace():
    arguments = struct.pack("<11Q", NEW_USER, 0, 0, 0, signal.SIGCHLD, 0, 0, 0, 0, 0, 0)
    pid = call(435, ctypes.create_string_buffer(arguments), 64)
    if pid == 0:
        os._exit(0)
    os.waitpid(pid, 0)
    return True


def enter_a_namespace(): return in_a_child(lambda: call(308, os.open("/proc/self/ns/net", os.O_RDONLY), 0) == 0)
def mount_a_file_system(): return in_a_child(lambda: call(165, b"x", b"/tmp", b"tmpfs", 0, 0) == 0)
def unmount_a_file_system(): return in_a_child(lambda: call(166, b"/tmp", 2) == 0)
def change_the_root(): return in_a_child(lambda: call(161, b"/tmp") == 0)
def copy_a_mount(): return call(428, -100, b"/tmp", 1) >= 0
def prepare_a_file_system(): return call(430, b"tmpfs", 0) >= 0
def trace_a_child(): return in_a_child(lambda: call(101, 0, 0, 0, 0) == 0)


def read_the_memory_of_a_process():
    source, target = ctypes.create_string_buffer(b"12345678"), ctypes.create_string_buffer(8)
    vector = lambda buffer: (ctypes.c_size_t * 2)(ctypes.addressof(buffer), 8)
    call(310, os.getpid(), vector(target), 1, vector(source), 1, 0)
    return target.raw == b"12345678"


def take_a_descriptor_of_a_process(): return call(438, os.pidfd_open(os.getpid()), 0, 0) >= 0
def compare_processes(): return call(312, os.getpid(), os.getpid(), 0, 0, 0) >= 0
def look_at_keyrings(): return call(250, 0, -3, 1) != 0
def add_a_key(): return call(248, b"user", b"name", b"x", 1, -2) > 0
def ask_for_a_key(): return started(249, b"user", b"nothing", 0, -2)
def count_events():
    attributes = struct.pack("<IIQQQQQ", 1, 112, 0, 0, 0, 0, 0x61) + bytes(64)
    return call(298, ctypes.create_string_buffer(attributes), 0, -1, -1, 0) >= 0


def handle_page_faults(): return call(323, 1) >= 0
def set_up_io_uring(): return call(425, 1, ctypes.create_string_buffer(120)) >= 0
def make_all_memory_executable(): return in_a_child(lambda: call(135, 0x0400000) >= 0)
def make_a_file_handle(): return started(303, -100, b"/tmp", ctypes.create_string_buffer(struct.pack("<Ii", 128, 0) + bytes(128)), ctypes.create_string_buffer(4), 0)
def watch_all_files(): return call(300, 0x200, 0) >= 0
def read_the_segment_table(): return call(154, 0, ctypes.create_string_buffer(16), 16) >= 0
def read_the_clock_s_discipline(): return call(159, ctypes.create_string_buffer(256)) >= 0
def ask_for_file_systems(): return call(139, 3) > 0
def move_pages_between_nodes(): return call(256, 0, 64, ctypes.create_string_buffer(b"\x01" + bytes(7)), ctypes.create_string_buffer(b"\x01" + bytes(7))) >= 0
def open_a_queue_of_messages(): return call(240, b"queue", os.O_CREAT | os.O_RDWR, 0o600, 0) >= 0


# Resources

def use_more_memory_than_there_is():
    return len(bytearray(b"x") * (400 << 20)) > 0


def use_more_memory_in_children():
    children, (ready, say) = [], os.pipe()
    for _ in range(4):
        pid = os.fork()
        if pid == 0:
            hoard = bytearray(b"x") * (60 << 20)
            os.write(say, b".")
            time.sleep(60)
            os._exit(len(hoard) & 1)
        children.append(pid)
    seen = 0
    while seen < 4:
        seen += len(os.read(ready, 4))
    for pid in children:
        os.kill(pid, signal.SIGKILL)
    return True


def make_more_processes_than_allowed():
    pids = []
    try:
        for _ in range(150):
            pid = os.fork()
            if pid == 0:
                signal.pause()
            pids.append(pid)
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
    return True


def make_more_threads_than_allowed():
    stop = threading.Event()
    threading.stack_size(64 << 10)
    try:
        for _ in range(150):
            threading.Thread(target=stop.wait, daemon=True).start()
    except RuntimeError as error:
        raise OSError(errno.EAGAIN, str(error))
    finally:
        stop.set()
    return True


def open_more_files_than_allowed(): return len([os.open("/dev/null", os.O_RDONLY) for _ in range(2_000)]) == 2_000


def write_more_than_tmp_holds():
    block = bytes(1 << 20)
    with open("/tmp/large", "wb", buffering=0) as file:
        for _ in range(600):
            file.write(block)
    return True


def lock_memory():
    area = mmap.mmap(-1, 1 << 20)
    address = ctypes.addressof(ctypes.c_char.from_buffer(area))
    return call(149, address, 1 << 20) == 0


def write_a_core_dump():
    resource.setrlimit(resource.RLIMIT_CORE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    return True


def queue_many_signals():
    number = signal.SIGRTMIN + 3
    signal.pthread_sigmask(signal.SIG_BLOCK, {number})
    information = struct.pack("<iii", number, 0, -1) + bytes(116)
    for _ in range(5_000):
        call(129, os.getpid(), int(number), ctypes.create_string_buffer(information))
    return True


def use_a_whole_processor():
    used, since = time.process_time(), time.monotonic()
    while time.monotonic() - since < 1:
        pass
    return time.process_time() - used > 0.25


def work_while_frozen():
    while True:
        os.write(1, b".")
        time.sleep(0.005)


def tell_and_wait():
    """As a spare does it: says that it has loaded itself, and waits until it has a function."""
    stream = socket.socket(fileno=3)
    stream.sendall(b"loaded")
    if not stream.recv(1):
        sys.exit(0)


def stand_as_template():
    """Comes back in each copy."""
    os.write(3, b"there")
    while os.read(6, 64):
        copy = os.fork()
        if not copy:
            return
        os.waitpid(copy, 0)
    os._exit(0)


def stand_with_threads():
    """As that, but it is copied without a fork of its own, with all of its threads."""
    def wait():
        # What an attempt blocks in its own thread is not to go to this one.
        signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        threading.Event().wait()

    for _ in range(2):
        threading.Thread(target=wait, daemon=True).start()
    os.write(3, b"there")
    try:
        while os.read(6, 64):
            pass
    except OSError:
        return
    os._exit(0)


def main(name):
    when = os.environ.get("SPARE")
    if when in ("copied", "from"):
        stand_as_template()
    if when == "whole":
        stand_with_threads()
    if when in ("after", "copied", "whole"):
        tell_and_wait()
    attempt(name)
    if when == "before":
        tell_and_wait()


def attempt(name):
    try:
        through = globals()[name]()
    except (OSError, ValueError, MemoryError) as error:
        print(f"STOPPED {error!r}", flush=True)
    else:
        print("THROUGH" if through else "STOPPED it came to nothing", flush=True)


if __name__ == "__main__":
    main(sys.argv[1])
