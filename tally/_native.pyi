"""The native module's types, as `python -m tally.interpose generate` writes them.

A pointer to a struct, an array of them and the struct itself have one type here, as they have the
same members in cffi.
"""

from collections.abc import Callable, Iterator
from typing import Any, Literal, Self, SupportsIndex, TypeAlias, TypeVar, overload

_T = TypeVar("_T")

class CData:
    def __bool__(self) -> bool: ...
    def __len__(self) -> int: ...
    def __int__(self) -> int: ...
    def __add__(self, other: int, /) -> Self: ...

class Pointer(CData):
    """To anything but a struct; also void."""
    def __getitem__(self, index: SupportsIndex | slice, /) -> Any: ...
    def __setitem__(self, index: SupportsIndex | slice, value: Any, /) -> None: ...
    def __iter__(self) -> Iterator[Any]: ...
    def __call__(self, *args: Any) -> Any: ...

class Struct(CData):
    def __getitem__(self, index: int | slice, /) -> Self: ...
    def __setitem__(self, index: int, value: Self, /) -> None: ...
    def __iter__(self) -> Iterator[Self]: ...

class CType:
    cname: str
    kind: str
    fields: list[tuple[str, CField]]
    item: CType
    length: int
    elements: dict[int, str]
    relements: dict[str, int]

class CField:
    offset: int
    type: CType

class FFI:
    NULL: Any
    CData: TypeAlias = CData
    @overload
    def new(self, cdecl: Literal["struct tally_histogram *"], init: Any = ...) -> Histogram: ...
    @overload
    def new(self, cdecl: Literal["struct tally_histogram[]"], init: Any = ...) -> Histogram: ...
    @overload
    def new(self, cdecl: Literal["struct tally_session_stats *"], init: Any = ...) -> SessionStats: ...
    @overload
    def new(self, cdecl: Literal["struct tally_session_stats[]"], init: Any = ...) -> SessionStats: ...
    @overload
    def new(self, cdecl: Literal["struct tally_sched_plan *"], init: Any = ...) -> SchedPlan: ...
    @overload
    def new(self, cdecl: Literal["struct tally_sched_plan[]"], init: Any = ...) -> SchedPlan: ...
    @overload
    def new(self, cdecl: Literal["struct tally_sched_limits *"], init: Any = ...) -> SchedLimits: ...
    @overload
    def new(self, cdecl: Literal["struct tally_sched_limits[]"], init: Any = ...) -> SchedLimits: ...
    @overload
    def new(self, cdecl: Literal["struct tally_sched_config *"], init: Any = ...) -> SchedConfig: ...
    @overload
    def new(self, cdecl: Literal["struct tally_sched_config[]"], init: Any = ...) -> SchedConfig: ...
    @overload
    def new(self, cdecl: Literal["struct tally_sched_event *"], init: Any = ...) -> SchedEvent: ...
    @overload
    def new(self, cdecl: Literal["struct tally_sched_event[]"], init: Any = ...) -> SchedEvent: ...
    @overload
    def new(self, cdecl: Literal["struct tally_sched_instruction *"], init: Any = ...) -> SchedInstruction: ...
    @overload
    def new(self, cdecl: Literal["struct tally_sched_instruction[]"], init: Any = ...) -> SchedInstruction: ...
    @overload
    def new(self, cdecl: Literal["struct tally_sched_histogram *"], init: Any = ...) -> SchedHistogram: ...
    @overload
    def new(self, cdecl: Literal["struct tally_sched_histogram[]"], init: Any = ...) -> SchedHistogram: ...
    @overload
    def new(self, cdecl: Literal["struct tally_sched_stats *"], init: Any = ...) -> SchedStats: ...
    @overload
    def new(self, cdecl: Literal["struct tally_sched_stats[]"], init: Any = ...) -> SchedStats: ...
    @overload
    def new(self, cdecl: Literal["struct tally_sched_session_stats *"], init: Any = ...) -> SchedSessionStats: ...
    @overload
    def new(self, cdecl: Literal["struct tally_sched_session_stats[]"], init: Any = ...) -> SchedSessionStats: ...
    @overload
    def new(self, cdecl: Literal["struct tally_plan_record *"], init: Any = ...) -> PlanRecord: ...
    @overload
    def new(self, cdecl: Literal["struct tally_plan_record[]"], init: Any = ...) -> PlanRecord: ...
    @overload
    def new(self, cdecl: Literal["struct tally_control_header *"], init: Any = ...) -> ControlHeader: ...
    @overload
    def new(self, cdecl: Literal["struct tally_control_header[]"], init: Any = ...) -> ControlHeader: ...
    @overload
    def new(self, cdecl: Literal["struct tally_hello *"], init: Any = ...) -> Hello: ...
    @overload
    def new(self, cdecl: Literal["struct tally_hello[]"], init: Any = ...) -> Hello: ...
    @overload
    def new(self, cdecl: Literal["struct tally_hello_reply *"], init: Any = ...) -> HelloReply: ...
    @overload
    def new(self, cdecl: Literal["struct tally_hello_reply[]"], init: Any = ...) -> HelloReply: ...
    @overload
    def new(self, cdecl: Literal["struct tally_device_info *"], init: Any = ...) -> DeviceInfo: ...
    @overload
    def new(self, cdecl: Literal["struct tally_device_info[]"], init: Any = ...) -> DeviceInfo: ...
    @overload
    def new(self, cdecl: Literal["struct tally_open *"], init: Any = ...) -> Open: ...
    @overload
    def new(self, cdecl: Literal["struct tally_open[]"], init: Any = ...) -> Open: ...
    @overload
    def new(self, cdecl: Literal["struct tally_open_reply *"], init: Any = ...) -> OpenReply: ...
    @overload
    def new(self, cdecl: Literal["struct tally_open_reply[]"], init: Any = ...) -> OpenReply: ...
    @overload
    def new(self, cdecl: Literal["struct tally_unsupported *"], init: Any = ...) -> Unsupported: ...
    @overload
    def new(self, cdecl: Literal["struct tally_unsupported[]"], init: Any = ...) -> Unsupported: ...
    @overload
    def new(self, cdecl: Literal["struct tally_handover *"], init: Any = ...) -> Handover: ...
    @overload
    def new(self, cdecl: Literal["struct tally_handover[]"], init: Any = ...) -> Handover: ...
    @overload
    def new(self, cdecl: Literal["struct tally_session_page *"], init: Any = ...) -> SessionPage: ...
    @overload
    def new(self, cdecl: Literal["struct tally_session_page[]"], init: Any = ...) -> SessionPage: ...
    @overload
    def new(self, cdecl: Literal["struct tally_op *"], init: Any = ...) -> Op: ...
    @overload
    def new(self, cdecl: Literal["struct tally_op[]"], init: Any = ...) -> Op: ...
    @overload
    def new(self, cdecl: Literal["struct tally_reply *"], init: Any = ...) -> Reply: ...
    @overload
    def new(self, cdecl: Literal["struct tally_reply[]"], init: Any = ...) -> Reply: ...
    @overload
    def new(self, cdecl: Literal["struct tally_param *"], init: Any = ...) -> Param: ...
    @overload
    def new(self, cdecl: Literal["struct tally_param[]"], init: Any = ...) -> Param: ...
    @overload
    def new(self, cdecl: Literal["struct tally_op_mem_alloc *"], init: Any = ...) -> OpMemAlloc: ...
    @overload
    def new(self, cdecl: Literal["struct tally_op_mem_alloc[]"], init: Any = ...) -> OpMemAlloc: ...
    @overload
    def new(self, cdecl: Literal["struct tally_reply_mem_alloc *"], init: Any = ...) -> ReplyMemAlloc: ...
    @overload
    def new(self, cdecl: Literal["struct tally_reply_mem_alloc[]"], init: Any = ...) -> ReplyMemAlloc: ...
    @overload
    def new(self, cdecl: Literal["struct tally_op_mem_free *"], init: Any = ...) -> OpMemFree: ...
    @overload
    def new(self, cdecl: Literal["struct tally_op_mem_free[]"], init: Any = ...) -> OpMemFree: ...
    @overload
    def new(self, cdecl: Literal["struct tally_op_host_alloc *"], init: Any = ...) -> OpHostAlloc: ...
    @overload
    def new(self, cdecl: Literal["struct tally_op_host_alloc[]"], init: Any = ...) -> OpHostAlloc: ...
    @overload
    def new(self, cdecl: Literal["struct tally_reply_host_alloc *"], init: Any = ...) -> ReplyHostAlloc: ...
    @overload
    def new(self, cdecl: Literal["struct tally_reply_host_alloc[]"], init: Any = ...) -> ReplyHostAlloc: ...
    @overload
    def new(self, cdecl: Literal["struct tally_op_host_free *"], init: Any = ...) -> OpHostFree: ...
    @overload
    def new(self, cdecl: Literal["struct tally_op_host_free[]"], init: Any = ...) -> OpHostFree: ...
    @overload
    def new(self, cdecl: Literal["struct tally_reply_mem_info *"], init: Any = ...) -> ReplyMemInfo: ...
    @overload
    def new(self, cdecl: Literal["struct tally_reply_mem_info[]"], init: Any = ...) -> ReplyMemInfo: ...
    @overload
    def new(self, cdecl: Literal["struct tally_op_copy *"], init: Any = ...) -> OpCopy: ...
    @overload
    def new(self, cdecl: Literal["struct tally_op_copy[]"], init: Any = ...) -> OpCopy: ...
    @overload
    def new(self, cdecl: Literal["struct tally_op_memset *"], init: Any = ...) -> OpMemset: ...
    @overload
    def new(self, cdecl: Literal["struct tally_op_memset[]"], init: Any = ...) -> OpMemset: ...
    @overload
    def new(self, cdecl: Literal["struct tally_op_upload *"], init: Any = ...) -> OpUpload: ...
    @overload
    def new(self, cdecl: Literal["struct tally_op_upload[]"], init: Any = ...) -> OpUpload: ...
    @overload
    def new(self, cdecl: Literal["struct tally_op_module_load *"], init: Any = ...) -> OpModuleLoad: ...
    @overload
    def new(self, cdecl: Literal["struct tally_op_module_load[]"], init: Any = ...) -> OpModuleLoad: ...
    @overload
    def new(self, cdecl: Literal["struct tally_reply_module_load *"], init: Any = ...) -> ReplyModuleLoad: ...
    @overload
    def new(self, cdecl: Literal["struct tally_reply_module_load[]"], init: Any = ...) -> ReplyModuleLoad: ...
    @overload
    def new(self, cdecl: Literal["struct tally_op_module_unload *"], init: Any = ...) -> OpModuleUnload: ...
    @overload
    def new(self, cdecl: Literal["struct tally_op_module_unload[]"], init: Any = ...) -> OpModuleUnload: ...
    @overload
    def new(self, cdecl: Literal["struct tally_op_get_function *"], init: Any = ...) -> OpGetFunction: ...
    @overload
    def new(self, cdecl: Literal["struct tally_op_get_function[]"], init: Any = ...) -> OpGetFunction: ...
    @overload
    def new(self, cdecl: Literal["struct tally_reply_get_function *"], init: Any = ...) -> ReplyGetFunction: ...
    @overload
    def new(self, cdecl: Literal["struct tally_reply_get_function[]"], init: Any = ...) -> ReplyGetFunction: ...
    @overload
    def new(self, cdecl: Literal["struct tally_op_get_global *"], init: Any = ...) -> OpGetGlobal: ...
    @overload
    def new(self, cdecl: Literal["struct tally_op_get_global[]"], init: Any = ...) -> OpGetGlobal: ...
    @overload
    def new(self, cdecl: Literal["struct tally_reply_get_global *"], init: Any = ...) -> ReplyGetGlobal: ...
    @overload
    def new(self, cdecl: Literal["struct tally_reply_get_global[]"], init: Any = ...) -> ReplyGetGlobal: ...
    @overload
    def new(self, cdecl: Literal["struct tally_op_list_functions *"], init: Any = ...) -> OpListFunctions: ...
    @overload
    def new(self, cdecl: Literal["struct tally_op_list_functions[]"], init: Any = ...) -> OpListFunctions: ...
    @overload
    def new(self, cdecl: Literal["struct tally_reply_list_functions *"], init: Any = ...) -> ReplyListFunctions: ...
    @overload
    def new(self, cdecl: Literal["struct tally_reply_list_functions[]"], init: Any = ...) -> ReplyListFunctions: ...
    @overload
    def new(self, cdecl: Literal["struct tally_op_launch *"], init: Any = ...) -> OpLaunch: ...
    @overload
    def new(self, cdecl: Literal["struct tally_op_launch[]"], init: Any = ...) -> OpLaunch: ...
    @overload
    def new(self, cdecl: Literal["struct tally_op_stream_create *"], init: Any = ...) -> OpStreamCreate: ...
    @overload
    def new(self, cdecl: Literal["struct tally_op_stream_create[]"], init: Any = ...) -> OpStreamCreate: ...
    @overload
    def new(self, cdecl: Literal["struct tally_op_stream *"], init: Any = ...) -> OpStream: ...
    @overload
    def new(self, cdecl: Literal["struct tally_op_stream[]"], init: Any = ...) -> OpStream: ...
    @overload
    def new(self, cdecl: Literal["struct tally_op_stream_wait_event *"], init: Any = ...) -> OpStreamWaitEvent: ...
    @overload
    def new(self, cdecl: Literal["struct tally_op_stream_wait_event[]"], init: Any = ...) -> OpStreamWaitEvent: ...
    @overload
    def new(self, cdecl: Literal["struct tally_op_stream_value *"], init: Any = ...) -> OpStreamValue: ...
    @overload
    def new(self, cdecl: Literal["struct tally_op_stream_value[]"], init: Any = ...) -> OpStreamValue: ...
    @overload
    def new(self, cdecl: Literal["struct tally_op_event_create *"], init: Any = ...) -> OpEventCreate: ...
    @overload
    def new(self, cdecl: Literal["struct tally_op_event_create[]"], init: Any = ...) -> OpEventCreate: ...
    @overload
    def new(self, cdecl: Literal["struct tally_op_event *"], init: Any = ...) -> OpEvent: ...
    @overload
    def new(self, cdecl: Literal["struct tally_op_event[]"], init: Any = ...) -> OpEvent: ...
    @overload
    def new(self, cdecl: Literal["struct tally_op_event_record *"], init: Any = ...) -> OpEventRecord: ...
    @overload
    def new(self, cdecl: Literal["struct tally_op_event_record[]"], init: Any = ...) -> OpEventRecord: ...
    @overload
    def new(self, cdecl: Literal["struct tally_op_event_elapsed *"], init: Any = ...) -> OpEventElapsed: ...
    @overload
    def new(self, cdecl: Literal["struct tally_op_event_elapsed[]"], init: Any = ...) -> OpEventElapsed: ...
    @overload
    def new(self, cdecl: Literal["struct tally_reply_event_elapsed *"], init: Any = ...) -> ReplyEventElapsed: ...
    @overload
    def new(self, cdecl: Literal["struct tally_reply_event_elapsed[]"], init: Any = ...) -> ReplyEventElapsed: ...
    @overload
    def new(self, cdecl: Literal["struct tally_kernel *"], init: Any = ...) -> Kernel: ...
    @overload
    def new(self, cdecl: Literal["struct tally_kernel[]"], init: Any = ...) -> Kernel: ...
    @overload
    def new(self, cdecl: Literal["struct tally_trace_record *"], init: Any = ...) -> TraceRecord: ...
    @overload
    def new(self, cdecl: Literal["struct tally_trace_record[]"], init: Any = ...) -> TraceRecord: ...
    @overload
    def new(self, cdecl: Literal["struct tally_engine_config *"], init: Any = ...) -> EngineConfig: ...
    @overload
    def new(self, cdecl: Literal["struct tally_engine_config[]"], init: Any = ...) -> EngineConfig: ...
    @overload
    def new(self, cdecl: Literal["struct tally_session_config *"], init: Any = ...) -> SessionConfig: ...
    @overload
    def new(self, cdecl: Literal["struct tally_session_config[]"], init: Any = ...) -> SessionConfig: ...
    @overload
    def new(self, cdecl: Literal["struct tally_engine_event *"], init: Any = ...) -> EngineEvent: ...
    @overload
    def new(self, cdecl: Literal["struct tally_engine_event[]"], init: Any = ...) -> EngineEvent: ...
    @overload
    def new(self, cdecl: Literal["struct tally_running *"], init: Any = ...) -> Running: ...
    @overload
    def new(self, cdecl: Literal["struct tally_running[]"], init: Any = ...) -> Running: ...
    @overload
    def new(self, cdecl: Literal["struct tally_sim_device *"], init: Any = ...) -> SimDevice: ...
    @overload
    def new(self, cdecl: Literal["struct tally_sim_device[]"], init: Any = ...) -> SimDevice: ...
    @overload
    def new(self, cdecl: Literal["struct tally_sim_kernel *"], init: Any = ...) -> SimKernel: ...
    @overload
    def new(self, cdecl: Literal["struct tally_sim_kernel[]"], init: Any = ...) -> SimKernel: ...
    @overload
    def new(self, cdecl: Literal["struct tally_sim_op *"], init: Any = ...) -> SimOp: ...
    @overload
    def new(self, cdecl: Literal["struct tally_sim_op[]"], init: Any = ...) -> SimOp: ...
    @overload
    def new(self, cdecl: Literal["struct tally_sim_client *"], init: Any = ...) -> SimClient: ...
    @overload
    def new(self, cdecl: Literal["struct tally_sim_client[]"], init: Any = ...) -> SimClient: ...
    @overload
    def new(self, cdecl: Literal["struct tally_sim_result *"], init: Any = ...) -> SimResult: ...
    @overload
    def new(self, cdecl: Literal["struct tally_sim_result[]"], init: Any = ...) -> SimResult: ...
    @overload
    def new(self, cdecl: Literal["struct tally_rates *"], init: Any = ...) -> Rates: ...
    @overload
    def new(self, cdecl: Literal["struct tally_rates[]"], init: Any = ...) -> Rates: ...
    @overload
    def new(self, cdecl: Literal["struct tally_gate_peer *"], init: Any = ...) -> GatePeer: ...
    @overload
    def new(self, cdecl: Literal["struct tally_gate_peer[]"], init: Any = ...) -> GatePeer: ...
    @overload
    def new(self, cdecl: str, init: Any = ...) -> Any: ...
    def string(self, cdata: CData, maxlen: int = ...) -> bytes: ...
    def buffer(self, cdata: CData, size: int = ...) -> memoryview: ...
    def from_buffer(self, cdecl: Any, data: Any = ...) -> Pointer: ...
    def memmove(self, dest: Any, src: Any, n: int) -> None: ...
    def cast(self, cdecl: str, value: Any) -> Any: ...
    def gc(self, cdata: _T, destructor: Callable[[_T], None]) -> _T: ...
    def sizeof(self, cdecl: str | CData | CType) -> int: ...
    def offsetof(self, cdecl: str | CType, *fields: str) -> int: ...
    def typeof(self, cdecl: str | CData) -> CType: ...
    def addressof(self, cdata: Any, *fields: str | int) -> Any: ...
    def callback(self, cdecl: str, python: Callable[..., Any] = ...) -> Pointer: ...
    def def_extern(self, name: str = ..., error: Any = ...) -> Callable[[_T], _T]: ...

class ControlHeader(Struct):
    magic: int
    version: int
    type: int
    sequence: int
    status: int

class DeviceInfo(Struct):
    @property
    def name(self) -> Pointer: ...
    @name.setter
    def name(self, value: Any) -> None: ...
    @property
    def uuid(self) -> Pointer: ...
    @uuid.setter
    def uuid(self, value: Any) -> None: ...
    total_bytes: int
    stream_priority_least: int
    stream_priority_greatest: int
    @property
    def limits(self) -> Pointer: ...
    @limits.setter
    def limits(self, value: Any) -> None: ...
    @property
    def pci_bus_id(self) -> Pointer: ...
    @pci_bus_id.setter
    def pci_bus_id(self, value: Any) -> None: ...
    @property
    def attributes(self) -> Pointer: ...
    @attributes.setter
    def attributes(self, value: Any) -> None: ...

class Engine(Struct):
    pass

class EngineConfig(Struct):
    @property
    def driver(self) -> Pointer: ...
    @driver.setter
    def driver(self, value: Any) -> None: ...
    @property
    def runtime_dir(self) -> Pointer: ...
    @runtime_dir.setter
    def runtime_dir(self, value: Any) -> None: ...
    @property
    def waiting_kernels(self) -> Pointer: ...
    @waiting_kernels.setter
    def waiting_kernels(self, value: Any) -> None: ...
    device: int
    connect_ms_max: int
    pinned_bytes_max: int
    pinned_bytes_job_max: int
    pinned_bytes_session_max: int
    queue_bytes_max: int
    module_bytes_max: int
    plans_max: int
    stream_queues_max: int
    gated_launches_max: int
    blocking_calls_max: int
    pinned_pieces_max: int
    stream_waits_max: int
    event_timing: int
    soft: int
    soft_devices: int
    soft_workers: int
    soft_dry: int
    soft_memory_bytes: int
    @property
    def rewrite(self) -> Pointer: ...
    @rewrite.setter
    def rewrite(self, value: Any) -> None: ...
    @property
    def rewrite_beside(self) -> Pointer: ...
    @rewrite_beside.setter
    def rewrite_beside(self, value: Any) -> None: ...

class EngineEvent(Struct):
    type: int
    error: int
    session: int
    @property
    def reason(self) -> Pointer: ...
    @reason.setter
    def reason(self, value: Any) -> None: ...
    stats: SessionStats

class GatePeer(Struct):
    uid: int
    gid: int
    pid: int
    reserved: int
    process: int

class Handover(Struct):
    magic: int
    version: int
    number: int
    bytes: int

class Hello(Struct):
    pid: int
    api_version: int
    @property
    def job(self) -> Pointer: ...
    @job.setter
    def job(self, value: Any) -> None: ...
    @property
    def program(self) -> Pointer: ...
    @program.setter
    def program(self, value: Any) -> None: ...

class HelloReply(Struct):
    session: int
    device_count: int
    driver_version: int

class Histogram(Struct):
    count: int
    sum_ns: int
    max_ns: int
    @property
    def buckets(self) -> Pointer: ...
    @buckets.setter
    def buckets(self, value: Any) -> None: ...

class Kernel(Struct):
    signature: int
    code: int
    @property
    def grid(self) -> Pointer: ...
    @grid.setter
    def grid(self, value: Any) -> None: ...
    @property
    def block(self) -> Pointer: ...
    @block.setter
    def block(self, value: Any) -> None: ...
    dynamic_shared_bytes: int
    blocks_per_sm: int
    abilities: int
    reserved: int
    @property
    def name(self) -> Pointer: ...
    @name.setter
    def name(self, value: Any) -> None: ...

class Op(Struct):
    code: int
    flags: int
    bytes: int
    call_id: int

class OpCopy(Struct):
    op: Op
    stream: int
    dst: int
    src: int
    width: int
    height: int
    depth: int
    dst_pitch: int
    dst_slice: int
    src_pitch: int
    src_slice: int
    dst_place: int
    src_place: int
    slot: int
    slot_sequence: int
    reserved: int

class OpEvent(Struct):
    op: Op
    event: int

class OpEventCreate(Struct):
    op: Op
    event: int
    flags: int
    reserved: int

class OpEventElapsed(Struct):
    op: Op
    start: int
    end: int

class OpEventRecord(Struct):
    op: Op
    event: int
    stream: int
    flags: int
    reserved: int

class OpGetFunction(Struct):
    op: Op
    module: int
    function: int
    name_bytes: int
    reserved: int

class OpGetGlobal(Struct):
    op: Op
    module: int
    name_bytes: int
    reserved: int

class OpHostAlloc(Struct):
    op: Op
    bytes: int
    flags: int
    reserved: int

class OpHostFree(Struct):
    op: Op
    address: int

class OpLaunch(Struct):
    op: Op
    function: int
    stream: int
    @property
    def grid(self) -> Pointer: ...
    @grid.setter
    def grid(self, value: Any) -> None: ...
    @property
    def block(self) -> Pointer: ...
    @block.setter
    def block(self, value: Any) -> None: ...
    dynamic_shared_bytes: int
    flags: int
    attribute_count: int
    param_bytes: int

class OpListFunctions(Struct):
    op: Op
    module: int
    first: int
    reserved: int

class OpMemAlloc(Struct):
    op: Op
    bytes: int

class OpMemFree(Struct):
    op: Op
    address: int

class OpMemset(Struct):
    op: Op
    stream: int
    dst: int
    pitch: int
    width: int
    height: int
    value: int
    element_bytes: int

class OpModuleLoad(Struct):
    op: Op
    module: int
    offset: int
    bytes: int
    upload: int
    @property
    def hash(self) -> Pointer: ...
    @hash.setter
    def hash(self, value: Any) -> None: ...
    source: int
    log_bytes: int
    tail_bytes: int
    reserved: int

class OpModuleUnload(Struct):
    op: Op
    module: int

class OpStream(Struct):
    op: Op
    stream: int

class OpStreamCreate(Struct):
    op: Op
    stream: int
    flags: int
    priority: int

class OpStreamValue(Struct):
    op: Op
    stream: int
    address: int
    value: int
    flags: int
    wait: int
    wide: int
    @property
    def pad(self) -> Pointer: ...
    @pad.setter
    def pad(self, value: Any) -> None: ...

class OpStreamWaitEvent(Struct):
    op: Op
    stream: int
    event: int
    flags: int
    reserved: int

class OpUpload(Struct):
    op: Op
    upload: int
    total: int
    offset: int
    bytes: int
    slot: int
    slot_sequence: int

class Open(Struct):
    session: int
    device: int
    reserved: int

class OpenReply(Struct):
    @property
    def ops(self) -> Pointer: ...
    @ops.setter
    def ops(self, value: Any) -> None: ...
    @property
    def replies(self) -> Pointer: ...
    @replies.setter
    def replies(self, value: Any) -> None: ...
    @property
    def segment(self) -> Pointer: ...
    @segment.setter
    def segment(self, value: Any) -> None: ...
    segment_bytes: int
    slot_count: int
    slot_bytes: int
    device_region_base: int
    device_region_bytes: int

class Param(Struct):
    offset: int
    bytes: int

class PlanRecord(Struct):
    signature: int
    @property
    def ns(self) -> Pointer: ...
    @ns.setter
    def ns(self, value: Any) -> None: ...
    @property
    def count(self) -> Pointer: ...
    @count.setter
    def count(self, value: Any) -> None: ...
    blocks: int
    slice_blocks: int
    resident: int
    abilities: int
    error_ns: int

class Plans(Struct):
    pass

class Rates(Struct):
    @property
    def ps_per_byte(self) -> Pointer: ...
    @ps_per_byte.setter
    def ps_per_byte(self, value: Any) -> None: ...
    @property
    def measured(self) -> Pointer: ...
    @measured.setter
    def measured(self, value: Any) -> None: ...

class Reply(Struct):
    code: int
    kind: int
    bytes: int
    call_id: int
    result: int
    async_error: int

class ReplyEventElapsed(Struct):
    reply: Reply
    elapsed_ms: float
    reserved: int

class ReplyGetFunction(Struct):
    reply: Reply
    @property
    def attributes(self) -> Pointer: ...
    @attributes.setter
    def attributes(self, value: Any) -> None: ...
    param_count: int
    param_bytes: int

class ReplyGetGlobal(Struct):
    reply: Reply
    address: int
    bytes: int

class ReplyHostAlloc(Struct):
    reply: Reply
    address: int
    bytes: int
    number: int

class ReplyListFunctions(Struct):
    reply: Reply
    count: int
    name_bytes: int
    total: int
    reserved: int

class ReplyMemAlloc(Struct):
    reply: Reply
    address: int

class ReplyMemInfo(Struct):
    reply: Reply
    free_bytes: int
    total_bytes: int

class ReplyModuleLoad(Struct):
    reply: Reply
    log_bytes: int
    reserved: int

class Running(Struct):
    session: int
    signature: int
    ns: int

class Sched(Struct):
    pass

class SchedConfig(Struct):
    sessions_max: int
    queues_max: int
    launches_max: int
    session_launches_max: int
    levels: int
    policy: int
    limits: SchedLimits

class SchedEvent(Struct):
    type: int
    session: int
    queue: int
    launch: int
    class_: int
    weight: int
    priority: int
    policy: int
    blocks: int
    lo: int
    hi: int
    started: int
    transfer: int
    job: int
    gpu_ns: int
    began_ns: int
    cleared_ns: int
    plan: SchedPlan
    limits: SchedLimits

class SchedHistogram(Struct):
    count: int
    sum: int
    max: int
    @property
    def buckets(self) -> Pointer: ...
    @buckets.setter
    def buckets(self, value: Any) -> None: ...

class SchedInstruction(Struct):
    type: int
    launch: int
    session: int
    lo: int
    hi: int
    level: int
    flags: int
    epoch: int
    time_ns: int

class SchedLimits(Struct):
    turnaround_ns_max: int
    alone_ns_max: int
    hysteresis_ns: int
    gap_wait_ns_max: int
    quantum_ns: int
    timeslice_ns: int
    preemptible_depth: int
    stops_permil_max: int
    best_effort_permil_min: int
    watchdog_times: int
    watchdog_ns_min: int

class SchedPlan(Struct):
    kind: int
    slice_blocks: int
    whole_ns: int
    slice_ns: int
    stop_ns: int
    guardable: int
    reserved: int

class SchedSessionStats(Struct):
    launches: int
    completed: int
    starts: int
    preemptions: int
    waited_ns: int
    gpu_ns: int

class SchedStats(Struct):
    turnaround_ns: SchedHistogram
    turnaround_unmet: int
    turnaround_missed: int
    turnaround_estimated_ns: int
    turnaround_error_ns: int
    oversized: int
    rescues: int

class SessionConfig(Struct):
    session: int
    job: int
    process: int
    pid: int
    uid: int
    gid: int
    high: int
    priority: int
    weight: int
    slot_count: int
    slot_bytes: int
    memory_max: int

class SessionPage(Struct):
    magic: int
    version: int
    sticky_error: int
    closed: int
    ops_handled: int
    @property
    def reserved(self) -> Pointer: ...
    @reserved.setter
    def reserved(self, value: Any) -> None: ...
    @property
    def done(self) -> Pointer: ...
    @done.setter
    def done(self, value: Any) -> None: ...
    @property
    def reason(self) -> Pointer: ...
    @reason.setter
    def reason(self, value: Any) -> None: ...
    @property
    def pad(self) -> Pointer: ...
    @pad.setter
    def pad(self, value: Any) -> None: ...

class SessionStats(Struct):
    session: int
    sticky_error: int
    reserved: int
    @property
    def counters(self) -> Pointer: ...
    @counters.setter
    def counters(self, value: Any) -> None: ...
    timings: Histogram

class Sim(Struct):
    pass

class SimClient(Struct):
    class_: int
    weight: int
    priority: int
    program_count: int
    ops: SimOp
    @property
    def program_ends(self) -> Pointer: ...
    @program_ends.setter
    def program_ends(self, value: Any) -> None: ...
    @property
    def arrivals(self) -> Pointer: ...
    @arrivals.setter
    def arrivals(self, value: Any) -> None: ...
    arrival_count: int
    seed: int
    job: int

class SimDevice(Struct):
    units: int
    contention_permil: int
    interleave: int
    reserved: int
    launch_ns: int
    gap_ns: int
    completion_ns: int
    flag_ns: int
    skip_ns: int
    guard_ns: int
    forward_ns: int
    reply_ns: int

class SimKernel(Struct):
    blocks: int
    units: int
    spread_permil: int
    reserved: int
    plan: SchedPlan
    @property
    def block_ns(self) -> Pointer: ...
    @block_ns.setter
    def block_ns(self, value: Any) -> None: ...

class SimOp(Struct):
    kernel: int
    reserved: int
    cpu_ns: int

class SimResult(Struct):
    programs: int
    launches: int
    busy_ns: int
    ops_done: int

class TraceRecord(Struct):
    session: int
    signature: int
    submit_ns: int
    issue_ns: int
    start_ns: int
    end_ns: int
    device_ns: int
    stream: int
    starts: int
    preemptions: int
    kind: int
    flags: int

class Unsupported(Struct):
    @property
    def symbol(self) -> Pointer: ...
    @symbol.setter
    def symbol(self, value: Any) -> None: ...
    count: int

class Lib:
    TALLY_ARENA_BYTES: int
    TALLY_ATTRIBUTES_MAX: int
    TALLY_CONTROL_MAGIC: int
    TALLY_DEVICES_MAX: int
    TALLY_DEVICE_ATTRIBUTES: int
    TALLY_END_REASON_BYTES: int
    TALLY_FUNCTION_ATTRIBUTES: int
    TALLY_HANDLE_TAG: int
    TALLY_HANDOVER_MAGIC: int
    TALLY_HISTOGRAM_BUCKETS: int
    TALLY_HISTOGRAM_UNIT_NS: int
    TALLY_INDEX_MAX: int
    TALLY_INLINE_BYTES_MAX: int
    TALLY_KERNEL_NAME_BYTES: int
    TALLY_LOG_BYTES_MAX: int
    TALLY_MESSAGE_BYTES_MAX: int
    TALLY_NAME_BYTES_MAX: int
    TALLY_PAGE_MAGIC: int
    TALLY_PARAMS_MAX: int
    TALLY_PARAM_BYTES_MAX: int
    TALLY_PARTS_BASE: int
    TALLY_PARTS_MAX: int
    TALLY_PART_BYTES: int
    TALLY_PATH_BYTES_MAX: int
    TALLY_PINNED_BYTES: int
    TALLY_PLAN_MEASUREMENTS: int
    TALLY_PROTOCOL_VERSION: int
    TALLY_REASON_BYTES: int
    TALLY_SCHED_BUCKETS: int
    TALLY_SCHED_INSTRUCTIONS_MIN: int
    TALLY_SCHED_NEVER: int
    TALLY_SESSIONS_MAX: int
    TALLY_SIM_LEVELS_MAX: int
    TALLY_SIM_QUANTILES: int
    TALLY_SLOTS_MAX: int
    TALLY_STREAM_LEGACY: int
    TALLY_TENANTS_MAX: int
    TALLY_TENANT_BYTES: int
    TALLY_TRACE_NO_STREAM: int
    TALLY_TRANSFER_KINDS: int
    TALLY_TRANSFER_PIECE_BYTES: int
    TALLY_COUNT_OPS: int
    TALLY_COUNT_LAUNCHES: int
    TALLY_COUNT_BLOCKS: int
    TALLY_COUNT_TIMED_LAUNCHES: int
    TALLY_COUNT_DEVICE_NS: int
    TALLY_COUNT_BUSY_NS: int
    TALLY_COUNT_BYTES_TO_DEVICE: int
    TALLY_COUNT_BYTES_TO_HOST: int
    TALLY_COUNT_BYTES_ON_DEVICE: int
    TALLY_COUNT_BYTES_SET: int
    TALLY_COUNT_MODULES: int
    TALLY_COUNT_ERRORS: int
    TALLY_COUNT_UNSUPPORTED: int
    TALLY_COUNT_REWRITES: int
    TALLY_COUNT_REWRITES_REFUSED: int
    TALLY_COUNT_REWRITES_IMPOSSIBLE: int
    TALLY_COUNT_LAUNCHES_STOPPABLE: int
    TALLY_COUNT_STOPPABLE_NS: int
    TALLY_COUNT_STARTS: int
    TALLY_COUNT_PREEMPTIONS: int
    TALLY_COUNT_WAITED_NS: int
    TALLY_COUNT_SCHEDULED_NS: int
    TALLY_COUNT_OUTPUT_LOST_BYTES: int
    TALLY_COUNT_MEMORY_BYTES: int
    TALLY_COUNT_MEMORY_PEAK_BYTES: int
    TALLY_COUNT_PINNED_BYTES: int
    TALLY_COUNT_WAITING_NS: int
    TALLY_COUNTERS: int
    TALLY_TIME_QUEUE_DELAY: int
    TALLY_TIME_DEVICE: int
    TALLY_TIME_REQUEST: int
    TALLY_TIME_TURNAROUND: int
    TALLY_TIMINGS: int
    TALLY_SCHED_INVALID: int
    TALLY_SCHED_FULL: int
    TALLY_SCHED_BEST_EFFORT: int
    TALLY_SCHED_HIGH: int
    TALLY_SCHED_WHOLE: int
    TALLY_SCHED_SLICED: int
    TALLY_SCHED_PREEMPTIBLE: int
    TALLY_SCHED_CONTINUE: int
    TALLY_SCHED_SESSION_OPEN: int
    TALLY_SCHED_SESSION_SET: int
    TALLY_SCHED_SESSION_CLOSE: int
    TALLY_SCHED_LAUNCH: int
    TALLY_SCHED_STARTED: int
    TALLY_SCHED_FINISHED: int
    TALLY_SCHED_PREEMPTED: int
    TALLY_SCHED_FAILED: int
    TALLY_SCHED_TIMER: int
    TALLY_SCHED_SET_POLICY: int
    TALLY_SCHED_SET_LIMITS: int
    TALLY_SCHED_WORK: int
    TALLY_SCHED_WORK_ENDED: int
    TALLY_SCHED_RECALLED: int
    TALLY_SCHED_COMING: int
    TALLY_SCHED_CAME: int
    TALLY_SCHED_START: int
    TALLY_SCHED_PREEMPT: int
    TALLY_SCHED_COMPLETE: int
    TALLY_SCHED_DROPPED: int
    TALLY_SCHED_CLOSED: int
    TALLY_SCHED_SET_TIMER: int
    TALLY_SCHED_RESCUE: int
    TALLY_SCHED_START_PREEMPTIBLE: int
    TALLY_SCHED_START_FINAL: int
    TALLY_SCHED_START_RESUMED: int
    TALLY_SCHED_HIGH_AT_ONCE: int
    TALLY_SCHED_LEVELS: int
    TALLY_SCHED_GIVES_WAY: int
    TALLY_SCHED_BOUNDED: int
    TALLY_PLAN_CAN_GUARD: int
    TALLY_PLAN_CAN_SLICE: int
    TALLY_PLAN_WAITS: int
    TALLY_PLAN_WHOLE: int
    TALLY_PLAN_GUARDED: int
    TALLY_PLAN_SLICE: int
    TALLY_PLAN_STOP: int
    TALLY_CONTROL_HELLO: int
    TALLY_CONTROL_OPEN: int
    TALLY_CONTROL_UNSUPPORTED: int
    TALLY_CONTROL_REQUEST: int
    TALLY_STATUS_OK: int
    TALLY_STATUS_BAD_MESSAGE: int
    TALLY_STATUS_BAD_VERSION: int
    TALLY_STATUS_REFUSED: int
    TALLY_STATUS_UNAVAILABLE: int
    TALLY_STATUS_INTERNAL: int
    TALLY_KIND_CONTEXT: int
    TALLY_KIND_STREAM: int
    TALLY_KIND_EVENT: int
    TALLY_KIND_MODULE: int
    TALLY_KIND_FUNCTION: int
    TALLY_KIND_LIBRARY: int
    TALLY_KIND_KERNEL: int
    TALLY_KIND_ARRAY: int
    TALLY_REPLY_RESULT: int
    TALLY_REPLY_STDOUT: int
    TALLY_REPLY_STDERR: int
    TALLY_PLACE_DEVICE: int
    TALLY_PLACE_PINNED: int
    TALLY_PLACE_SLOT: int
    TALLY_PLACE_INLINE: int
    TALLY_IMAGE_FILE: int
    TALLY_IMAGE_UPLOAD: int
    TALLY_IMAGE_INLINE: int
    TALLY_IMAGE_HASH: int
    TALLY_RESULT_NEED_IMAGE: int
    TALLY_LAUNCH_COOPERATIVE: int
    TALLY_OP_BYE: int
    TALLY_OP_MEM_ALLOC: int
    TALLY_OP_MEM_FREE: int
    TALLY_OP_HOST_ALLOC: int
    TALLY_OP_HOST_FREE: int
    TALLY_OP_COPY: int
    TALLY_OP_MEMSET: int
    TALLY_OP_UPLOAD: int
    TALLY_OP_MODULE_LOAD: int
    TALLY_OP_MODULE_UNLOAD: int
    TALLY_OP_GET_FUNCTION: int
    TALLY_OP_GET_GLOBAL: int
    TALLY_OP_LAUNCH: int
    TALLY_OP_STREAM_CREATE: int
    TALLY_OP_STREAM_DESTROY: int
    TALLY_OP_STREAM_SYNC: int
    TALLY_OP_STREAM_QUERY: int
    TALLY_OP_STREAM_WAIT_EVENT: int
    TALLY_OP_STREAM_VALUE: int
    TALLY_OP_EVENT_CREATE: int
    TALLY_OP_EVENT_DESTROY: int
    TALLY_OP_EVENT_RECORD: int
    TALLY_OP_EVENT_SYNC: int
    TALLY_OP_EVENT_QUERY: int
    TALLY_OP_EVENT_ELAPSED: int
    TALLY_OP_CTX_SYNC: int
    TALLY_OP_MEM_INFO: int
    TALLY_OP_LIST_FUNCTIONS: int
    TALLY_OP_GENERATED: int
    TALLY_TRACE_LAUNCH: int
    TALLY_TRACE_REQUEST: int
    TALLY_TRACE_GUARDED: int
    TALLY_TRACE_UNTIMED: int
    TALLY_ENGINE_CLOSED: int
    TALLY_ENGINE_FAULT: int
    TALLY_ENGINE_LOST: int
    TALLY_ENGINE_NOTICE: int
    TALLY_ENGINE_RESCUED: int
    TALLY_SIM_SYNC: int
    TALLY_TRANSFER_TO_DEVICE: int
    TALLY_TRANSFER_TO_HOST: int
    TALLY_TRANSFER_ON_DEVICE: int
    TALLY_TRANSFER_FILL: int
    tally_rewrite: Pointer
    tally_rewrite_beside: Pointer
    def tally_counter_is_gauge(self, counter: int, /) -> int: ...
    def tally_counter_name(self, counter: int, /) -> Pointer: ...
    def tally_counter_text(self, counter: int, /) -> Pointer: ...
    def tally_descriptors_free(self, /) -> int: ...
    def tally_engine_buffer(self, bytes: int, /) -> Pointer: ...
    def tally_engine_close(self, engine: Engine, session: int, reason: bytes | CData, /) -> int: ...
    def tally_engine_create(self, config: EngineConfig, error: bytes | CData, error_bytes: int, /) -> Engine: ...
    def tally_engine_destroy(self, engine: Engine, /) -> None: ...
    def tally_engine_device(self, engine: Engine, info: DeviceInfo, driver_version: CData, /) -> None: ...
    def tally_engine_die_with_parent(self, parent: int, signal: int, /) -> int: ...
    def tally_engine_event_fd(self, engine: Engine, /) -> int: ...
    def tally_engine_export_plans(self, engine: Engine, records: PlanRecord, max: int, /) -> int: ...
    def tally_engine_import_plans(self, engine: Engine, records: PlanRecord, count: int, /) -> int: ...
    def tally_engine_kernel(self, engine: Engine, signature: int, kernel: Kernel, /) -> int: ...
    def tally_engine_next_event(self, engine: Engine, event: EngineEvent, /) -> int: ...
    def tally_engine_open(self, engine: Engine, config: SessionConfig, reply: OpenReply, error: bytes | CData, error_bytes: int, /) -> int: ...
    def tally_engine_plans_evicted(self, engine: Engine, /) -> int: ...
    def tally_engine_policy(self, engine: Engine, /) -> int: ...
    def tally_engine_running(self, engine: Engine, running: Running, max: int, /) -> int: ...
    def tally_engine_schedule(self, engine: Engine, stats: SchedStats, /) -> None: ...
    def tally_engine_set_limits(self, engine: Engine, limits: SchedLimits, /) -> int: ...
    def tally_engine_set_policy(self, engine: Engine, policy: int, /) -> int: ...
    def tally_engine_snapshot(self, engine: Engine, stats: SessionStats, max: int, /) -> int: ...
    def tally_engine_times_reported(self, engine: Engine, /) -> int: ...
    def tally_engine_trace_read(self, engine: Engine, records: TraceRecord, max: int, lost: CData, /) -> int: ...
    def tally_engine_trace_start(self, engine: Engine, records_max: int, /) -> int: ...
    def tally_engine_trace_stop(self, engine: Engine, /) -> None: ...
    def tally_engine_validate(self, engine: Engine, /) -> Pointer: ...
    def tally_gate_event_fd(self, /) -> int: ...
    def tally_gate_install(self, reserve: int, per_process_max: int, /) -> int: ...
    def tally_gate_peer(self, fd: int, peer: GatePeer, /) -> int: ...
    def tally_gate_refused(self, /) -> int: ...
    def tally_gate_reserve(self, listener: int, peer: GatePeer, /) -> None: ...
    def tally_gate_same(self, one: GatePeer, other: GatePeer, /) -> bool: ...
    def tally_histogram_add(self, histogram: Histogram, value_ns: int, /) -> None: ...
    def tally_histogram_floor_ns(self, bucket: int, /) -> int: ...
    def tally_histogram_take(self, histogram: Histogram, from_: SchedHistogram, /) -> None: ...
    def tally_plan_choose(self, record: PlanRecord, turnaround_ns_max: int, plan: SchedPlan, /) -> None: ...
    def tally_plan_note_time(self, record: PlanRecord, what: int, blocks: int, ns: int, /) -> None: ...
    def tally_plan_times_ok(self, record: PlanRecord, /) -> bool: ...
    def tally_plans_count(self, plans: Plans, /) -> int: ...
    def tally_plans_create(self, records_max: int, /) -> Plans: ...
    def tally_plans_declare(self, plans: Plans, signature: int, blocks: int, resident: int, abilities: int, /) -> None: ...
    def tally_plans_destroy(self, plans: Plans, /) -> None: ...
    def tally_plans_evicted(self, plans: Plans, /) -> int: ...
    def tally_plans_export(self, plans: Plans, records: PlanRecord, max: int, /) -> int: ...
    def tally_plans_import(self, plans: Plans, record: PlanRecord, /) -> bool: ...
    def tally_plans_list(self, plans: Plans, records: PlanRecord, max: int, /) -> int: ...
    def tally_plans_measure(self, plans: Plans, signature: int, what: int, blocks: int, ns: int, /) -> None: ...
    def tally_plans_never_stop(self, plans: Plans, signature: int, /) -> None: ...
    def tally_plans_plan(self, plans: Plans, signature: int, turnaround_ns_max: int, plan: SchedPlan, /) -> None: ...
    def tally_plans_validate(self, plans: Plans, /) -> Pointer: ...
    def tally_rates_estimate(self, rates: Rates, kind: int, bytes: int, /) -> int: ...
    def tally_rates_init(self, rates: Rates, /) -> None: ...
    def tally_rates_measure(self, rates: Rates, kind: int, bytes: int, ns: int, /) -> None: ...
    def tally_rates_plan(self, rates: Rates, kind: int, bytes: int, blocks: int, turnaround_ns_max: int, plan: SchedPlan, /) -> None: ...
    def tally_sched_bound(self, sched: Sched, /) -> int: ...
    def tally_sched_bucket_floor(self, bucket: int, /) -> int: ...
    def tally_sched_config_default(self, config: SchedConfig, /) -> None: ...
    def tally_sched_create(self, config: SchedConfig, /) -> Sched: ...
    def tally_sched_destroy(self, sched: Sched, /) -> None: ...
    def tally_sched_handle(self, sched: Sched, event: SchedEvent, now_ns: int, out: SchedInstruction, max: int, /) -> int: ...
    def tally_sched_has_room(self, sched: Sched, session: int, /) -> bool: ...
    def tally_sched_high_at_once(self, sched: Sched, /) -> bool: ...
    def tally_sched_is_stale(self, sched: Sched, start: SchedInstruction, /) -> bool: ...
    def tally_sched_launch_of(self, sched: Sched, session: int, /) -> int: ...
    def tally_sched_policy(self, sched: Sched, /) -> int: ...
    def tally_sched_policy_count(self, /) -> int: ...
    def tally_sched_policy_name(self, policy: int, /) -> Pointer: ...
    def tally_sched_policy_text(self, policy: int, /) -> Pointer: ...
    def tally_sched_policy_traits(self, policy: int, /) -> int: ...
    def tally_sched_read_session(self, sched: Sched, session: int, stats: SchedSessionStats, /) -> int: ...
    def tally_sched_read_stats(self, sched: Sched, stats: SchedStats, /) -> None: ...
    def tally_sched_read_turnaround(self, sched: Sched, session: int, turnaround_ns: SchedHistogram, /) -> int: ...
    def tally_sched_uses_levels(self, sched: Sched, /) -> bool: ...
    def tally_sched_validate(self, sched: Sched, /) -> Pointer: ...
    def tally_sim_create(self, device: SimDevice, config: SchedConfig, kernels: SimKernel, kernel_count: int, clients: SimClient, client_count: int, /) -> Sim: ...
    def tally_sim_destroy(self, sim: Sim, /) -> None: ...
    def tally_sim_events(self, sim: Sim, /) -> int: ...
    def tally_sim_latencies(self, sim: Sim, client: int, service_ns: CData, response_ns: CData, max: int, /) -> int: ...
    def tally_sim_read(self, sim: Sim, client: int, result: SimResult, /) -> None: ...
    def tally_sim_run(self, sim: Sim, end_ns: int, check: bool, /) -> Pointer: ...
    def tally_sim_sched(self, sim: Sim, /) -> Sched: ...
    def tally_stats_read(self, stats: SessionStats, out: SessionStats, /) -> None: ...
    def tally_timing_name(self, timing: int, /) -> Pointer: ...
    def tally_timing_text(self, timing: int, /) -> Pointer: ...

ffi: FFI
lib: Lib
