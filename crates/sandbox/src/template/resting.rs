//! The registers of a thread that waits in the kernel, and those with which it takes up its call again.

#[cfg(target_arch = "x86_64")]
mod arch {
    use super::super::trace::Registers;

    /// The instruction that enters the kernel.
    const ENTER: [u8; 2] = [0x0f, 0x05];
    const NONE: u64 = u64::MAX;
    /// What a call is interrupted with that the kernel takes up again by itself (linux/errno.h:
    /// ERESTARTSYS, ERESTARTNOINTR, ERESTARTNOHAND, ERESTART_RESTARTBLOCK). One that has waited for a
    /// while and for no longer than a certain time waits for all of it again.
    const TAKEN_UP: [i64; 4] = [-512, -513, -514, -516];
    /// Those that the kernel lets a program take up again itself.
    const BY_PROGRAMS: [i64; 3] =
        [libc::SYS_epoll_wait, libc::SYS_epoll_pwait, libc::SYS_epoll_pwait2];
    /// What stands for the result while a call is entered.
    const ENTERING: i64 = -(libc::ENOSYS as i64);

    /// With which a thread that was interrupted in a call calls again; `None` if it was not.
    pub(crate) fn again(stopped: &Registers) -> Option<Registers> {
        let (result, call) = (stopped.rax as i64, stopped.orig_rax as i64);
        let waits = TAKEN_UP.contains(&result)
            || result == -i64::from(libc::EINTR) && BY_PROGRAMS.contains(&call);
        (call >= 0 && waits).then(|| call_again(stopped, stopped))
    }

    /// With which a thread goes on with the call that it `entered`.
    pub(crate) fn call_again(stopped: &Registers, entered: &Registers) -> Registers {
        let rip = stopped.rip.wrapping_sub(ENTER.len() as u64);
        Registers { rip, rax: entered.orig_rax, orig_rax: NONE, ..*stopped }
    }

    /// With which a thread goes on as if its call had ended with this error.
    pub(crate) fn failing(stopped: &Registers, error: i32) -> Registers {
        Registers { rax: -i64::from(error) as u64, orig_rax: NONE, ..*stopped }
    }

    pub(crate) fn is_entering(now: &Registers) -> bool {
        now.rax as i64 == ENTERING && now.orig_rax as i64 >= 0
    }

    /// In place of these the kernel does nothing.
    pub(crate) fn without_call(entering: &Registers) -> Registers {
        Registers { orig_rax: NONE, ..*entering }
    }

    /// Whether it reads from this descriptor, or is about to.
    pub(crate) fn reads(now: &Registers, number: u64) -> bool {
        now.orig_rax as i64 == libc::SYS_read && now.rdi == number
    }

    /// Where the instruction is by which it entered the kernel, and what that has to be.
    pub(crate) fn enters(stopped: &Registers) -> (u64, [u8; 2]) {
        (stopped.rip.wrapping_sub(ENTER.len() as u64), ENTER)
    }

    pub(crate) fn stack(now: &Registers) -> u64 {
        now.rsp
    }

    /// What is a thread's own in memory.
    pub(crate) fn place(now: &Registers) -> u64 {
        now.fs_base
    }
}

#[cfg(not(target_arch = "x86_64"))]
mod arch {
    //! Where copies are not known (`trace::IS_KNOWN`), nobody comes here.
    use super::super::trace::Registers;

    pub(crate) fn again(_: &Registers) -> Option<Registers> {
        None
    }

    pub(crate) fn call_again(stopped: &Registers, _: &Registers) -> Registers {
        *stopped
    }

    pub(crate) fn failing(stopped: &Registers, _: i32) -> Registers {
        *stopped
    }

    pub(crate) fn is_entering(_: &Registers) -> bool {
        false
    }

    pub(crate) fn without_call(entering: &Registers) -> Registers {
        *entering
    }

    pub(crate) fn reads(_: &Registers, _: u64) -> bool {
        false
    }

    pub(crate) fn enters(_: &Registers) -> (u64, [u8; 2]) {
        (0, [0; 2])
    }

    pub(crate) fn stack(_: &Registers) -> u64 {
        0
    }

    pub(crate) fn place(_: &Registers) -> u64 {
        0
    }
}

pub(super) use arch::{
    again, call_again, enters, failing, is_entering, place, reads, stack, without_call,
};

#[cfg(all(test, target_arch = "x86_64"))]
mod tests {
    use super::super::trace::Registers;
    use super::*;

    fn registers(call: i64, result: i64) -> Registers {
        let (orig_rax, rax) = (call as u64, result as u64);
        let [r15, r14, r13, r12, rbp, rbx, r11, r10, r9, r8, rcx, rdx, rsi] = [0; 13];
        let [cs, eflags, rsp, ss, fs_base, gs_base, ds, es, fs, gs] = [0; 10];
        #[rustfmt::skip]
        let registers = Registers {
            r15, r14, r13, r12, rbp, rbx, r11, r10, r9, r8, rax, rcx, rdx, rsi, rdi: 6, orig_rax,
            rip: 102, cs, eflags, rsp, ss, fs_base, gs_base, ds, es, fs, gs,
        };
        registers
    }

    #[test]
    fn calls_that_wait_are_taken_up_again_and_no_others() {
        let read = again(&registers(libc::SYS_read, -512)).unwrap();
        assert_eq!((read.rip, read.rax, read.orig_rax), (100, libc::SYS_read as u64, u64::MAX));
        assert!(again(&registers(libc::SYS_futex, -516)).is_some());
        assert!(again(&registers(libc::SYS_epoll_pwait, -4)).is_some());
        // One that has ended, one that was told to the program, and none at all.
        assert!(again(&registers(libc::SYS_read, 1)).is_none());
        assert!(again(&registers(libc::SYS_read, -4)).is_none());
        assert!(again(&registers(-1, -512)).is_none());
    }

    #[test]
    fn a_call_that_is_entered_is_left_out_and_made_later() {
        let entering = registers(libc::SYS_read, -38);
        assert!(is_entering(&entering) && !is_entering(&registers(libc::SYS_read, 0)));
        assert!(reads(&entering, 6) && !reads(&entering, 3));
        let without = without_call(&entering);
        assert_eq!(without.orig_rax, u64::MAX);
        let later = call_again(&without, &entering);
        assert_eq!((later.rip, later.rax), (100, libc::SYS_read as u64));
        let failed = failing(&without, 5);
        assert_eq!((failed.rip, failed.rax as i64, failed.orig_rax), (102, -5, u64::MAX));
    }
}
