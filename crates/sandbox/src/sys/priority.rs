//! Who runs first on a busy machine.

/// How soon the scheduler lets a process run once it has something to do: before others that are not
/// so prompt, but for no longer than `slice_ns` at a time. Its share of the processors stays the same.
/// `None` is the usual. Process 0 is the caller. Kernels before 6.12 take no notice.
pub(crate) fn set_promptness(pid: i32, slice_ns: Option<u64>) {
    set_attributes(pid, slice_ns.unwrap_or(0), 0);
}

/// Lets every other process run before the caller and its children from now on, or as any other. Whoever is
/// made so is made as any other again by [`set_promptness`].
pub(crate) fn set_yielding(yields: bool) {
    const LAST: i32 = 19;
    set_attributes(0, 0, if yields { LAST } else { 0 });
}

fn set_attributes(pid: i32, runtime: u64, nice: i32) {
    #[repr(C)]
    #[derive(Default)]
    struct Attributes {
        size: u32,
        policy: u32,
        flags: u64,
        nice: i32,
        priority: u32,
        runtime: u64,
        deadline: u64,
        period: u64,
    }
    let size = std::mem::size_of::<Attributes>() as u32;
    let attributes = Attributes { size, nice, runtime, ..Attributes::default() };
    // SAFETY: the kernel reads `size` bytes of the structure, which is laid out as in
    // linux/sched/types.h. The policy is that of every process (SCHED_OTHER).
    unsafe { libc::syscall(libc::SYS_sched_setattr, pid, &raw const attributes, 0_u32) };
}

/// Lets the caller run before every process that is not so urgent (`SCHED_FIFO`), or as any other.
/// Its children are as any other. Nothing happens without the right to.
pub(crate) fn set_urgent(urgent: bool) {
    let (policy, priority) = match urgent {
        true => (libc::SCHED_FIFO | libc::SCHED_RESET_ON_FORK, 1),
        false => (libc::SCHED_OTHER | libc::SCHED_RESET_ON_FORK, 0),
    };
    let parameters = libc::sched_param { sched_priority: priority };
    // SAFETY: the kernel reads the one number of the structure.
    unsafe { libc::sched_setscheduler(0, policy, &raw const parameters) };
}
