//! The attempts, and the barriers that stop each of them: each by itself.

use lambic_sandbox::BarrierKind::{self, *};

/// One attempt to break out or to do harm.
pub(crate) struct Attempt {
    /// The function in `attacks.py`, or the special case in `special.rs`, that makes it.
    pub(crate) name: &'static str,
    /// As in docs/security.md.
    pub(crate) class: Class,
    /// What stops it. Each of these does so alone.
    pub(crate) barriers: &'static [BarrierKind],
}

/// What an attempt is aimed at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Class {
    Files,
    Processes,
    Network,
    Kernel,
    Resources,
    Server,
}

const fn of(class: Class, name: &'static str, barriers: &'static [BarrierKind]) -> Attempt {
    Attempt { name, class, barriers }
}

use Class::{Files, Kernel, Network, Processes, Resources, Server};

const BY_FILTER_OR_RIGHTS: &[BarrierKind] = &[SystemCalls, Capabilities];
const BY_FILTER: &[BarrierKind] = &[SystemCalls];
const MOUNTS: &[BarrierKind] = &[SystemCalls, Capabilities, Landlock];
const CODE: &[BarrierKind] = &[ReadOnlyFiles, Landlock];
const LEFT_OPEN: &[BarrierKind] = &[ClosedDescriptors, Landlock];
const NEIGHBOUR: &[BarrierKind] = &[ProcessNamespace, HostUser, Landlock];

/// All of them.
#[rustfmt::skip]
pub(crate) const ATTEMPTS: &[Attempt] = &[
    of(Files, "read_a_file_of_the_host", &[PrivateRoot]),
    of(Files, "list_the_folders_of_the_host", &[PrivateRoot]),
    of(Files, "read_the_users_of_the_host", &[OwnEtc]),
    of(Files, "read_the_packages_of_the_host", &[OwnEtc]),
    of(Files, "read_the_kernel_s_command_line", &[MaskedProc]),
    of(Files, "read_the_disks_of_the_host", &[MaskedProc]),
    of(Files, "read_the_interrupts_of_the_host", &[MaskedProc]),
    of(Files, "read_the_symbols_of_the_kernel", &[MaskedProc]),
    of(Files, "read_the_memory_map_of_the_host", &[MaskedProc]),
    of(Files, "open_a_terminal", &[Devices]),
    of(Files, "see_the_devices_of_the_host", &[Devices]),
    of(Files, "open_a_device_of_the_package", &[PlainFiles]),
    of(Files, "run_a_set_user_id_program_of_the_package", &[PlainFiles, NoNewPrivileges, UserNamespace]),
    of(Files, "add_a_file_to_the_code", CODE),
    of(Files, "change_a_file_of_the_code", CODE),
    of(Files, "remove_a_file_of_the_code", CODE),
    of(Files, "link_out_of_the_code", CODE),
    of(Files, "read_through_a_forgotten_descriptor", LEFT_OPEN),
    of(Files, "write_through_a_forgotten_descriptor", LEFT_OPEN),
    of(Processes, "see_a_process_of_the_host", &[ProcessNamespace]),
    of(Processes, "signal_a_neighbour", NEIGHBOUR),
    of(Processes, "read_the_variables_of_a_neighbour", &[ProcessNamespace, HostUser, UserNamespace, Landlock]),
    of(Processes, "move_a_neighbour_to_one_processor", &[ProcessNamespace, HostUser]),
    of(Processes, "read_the_variables_of_init", &[ClosedInit, Landlock]),
    of(Processes, "signal_init", &[Landlock]),
    of(Processes, "outlive_the_spawner_while_frozen", &[Keeper]),
    of(Network, "reach_a_service_on_the_host_s_loopback", &[NetworkNamespace]),
    of(Network, "reach_an_abstract_socket_of_the_host", &[NetworkNamespace]),
    of(Network, "reach_the_host_by_its_end_of_the_link", &[NetworkFilter]),
    of(Network, "reach_the_instance_s_metadata", &[NetworkFilter]),
    of(Network, "reach_a_neighbour", &[NetworkFilter]),
    of(Network, "open_a_raw_socket", BY_FILTER_OR_RIGHTS),
    of(Network, "listen_to_all_packets", BY_FILTER_OR_RIGHTS),
    of(Network, "use_generic_netlink", BY_FILTER),
    of(Network, "hear_the_kernel_s_events", BY_FILTER),
    of(Network, "make_a_pair_of_another_family", BY_FILTER),
    of(Network, "take_the_loopback_down", &[Capabilities]),
    of(Kernel, "attach_shared_memory_of_the_host", &[IpcNamespace]),
    of(Kernel, "open_a_message_queue_of_the_host", &[IpcNamespace]),
    of(Kernel, "open_semaphores_of_the_host", &[IpcNamespace]),
    of(Kernel, "learn_the_host_s_name", &[HostName]),
    of(Kernel, "change_the_host_name", BY_FILTER_OR_RIGHTS),
    of(Kernel, "see_the_host_s_control_groups", &[CgroupNamespace]),
    of(Kernel, "make_a_user_namespace", BY_FILTER),
    of(Kernel, "make_a_network_namespace", BY_FILTER_OR_RIGHTS),
    of(Kernel, "make_a_mount_namespace", BY_FILTER_OR_RIGHTS),
    of(Kernel, "clone_into_a_user_namespace", BY_FILTER),
    of(Kernel, "clone3_into_a_user_namespace", BY_FILTER),
    of(Kernel, "enter_a_namespace", BY_FILTER_OR_RIGHTS),
    of(Kernel, "mount_a_file_system", MOUNTS),
    of(Kernel, "unmount_a_file_system", MOUNTS),
    of(Kernel, "change_the_root", BY_FILTER_OR_RIGHTS),
    of(Kernel, "copy_a_mount", BY_FILTER_OR_RIGHTS),
    of(Kernel, "prepare_a_file_system", BY_FILTER_OR_RIGHTS),
    of(Kernel, "trace_a_child", BY_FILTER),
    of(Kernel, "read_the_memory_of_a_process", BY_FILTER),
    of(Kernel, "take_a_descriptor_of_a_process", BY_FILTER),
    of(Kernel, "compare_processes", BY_FILTER),
    of(Kernel, "look_at_keyrings", BY_FILTER),
    of(Kernel, "add_a_key", BY_FILTER),
    of(Kernel, "ask_for_a_key", BY_FILTER),
    of(Kernel, "count_events", BY_FILTER),
    of(Kernel, "handle_page_faults", BY_FILTER),
    of(Kernel, "set_up_io_uring", BY_FILTER),
    of(Kernel, "make_all_memory_executable", BY_FILTER),
    of(Kernel, "make_a_file_handle", BY_FILTER),
    of(Kernel, "watch_all_files", BY_FILTER),
    of(Kernel, "read_the_segment_table", BY_FILTER),
    of(Kernel, "read_the_clock_s_discipline", BY_FILTER),
    of(Kernel, "ask_for_file_systems", BY_FILTER),
    of(Kernel, "move_pages_between_nodes", BY_FILTER),
    of(Kernel, "open_a_queue_of_messages", &[SystemCalls, ResourceLimits, Landlock]),
    of(Resources, "use_more_memory_than_there_is", &[MemoryLimit]),
    of(Resources, "use_more_memory_in_children", &[MemoryLimit]),
    of(Resources, "make_more_processes_than_allowed", &[ProcessLimit]),
    of(Resources, "make_more_threads_than_allowed", &[ProcessLimit]),
    of(Resources, "open_more_files_than_allowed", &[ResourceLimits]),
    of(Resources, "write_more_than_tmp_holds", &[Tmp]),
    of(Resources, "lock_memory", &[ResourceLimits]),
    of(Resources, "write_a_core_dump", &[ResourceLimits]),
    of(Resources, "queue_many_signals", &[ResourceLimits]),
    of(Resources, "use_a_whole_processor", &[ProcessorShare]),
    of(Resources, "work_while_frozen", &[Freezer]),
    of(Server, "read_the_passwords_of_the_host", &[ServerRules]),
    of(Server, "write_a_file_of_the_host", &[ServerRules]),
    of(Server, "leave_a_set_user_id_program", &[ServerRules]),
    of(Server, "make_a_namespace_in_the_server", &[ServerRules]),
    of(Server, "signal_another_process_of_root", &[ServerRules]),
];

/// A barrier that no attempt meets: the spawner's check of messages, which `protocol.rs` tests
/// message by message.
pub(crate) const NOT_MET: &[BarrierKind] = &[Spawner];
