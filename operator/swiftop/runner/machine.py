"""How work ends by what it runs on: GPUs, volumes, the container, the network. ``runner/causes.py`` has these among its
own."""

from __future__ import annotations

from .ends import EXIT_HOST_MEMORY, EXIT_INFRASTRUCTURE, EXIT_NETWORK, EXIT_STORAGE, EXIT_USER, EndClass

SEGMENTS_UNSUPPORTED = EndClass(
    "ExpandableSegmentsUnsupported",
    EXIT_USER,
    "This GPU (a vGPU, Jetson or WSL2) has no expandable segments of memory: set PYTORCH_CUDA_ALLOC_CONF to "
    "expandable_segments:False in runtime.env.",
    (
        r"CUDA driver error: (operation not supported|invalid device|invalid argument)",
        r"expandable_?segments.{0,80}not (supported|available)",
        r"CUDASymmetricMemory|cuMemCreate|cuMemAddressReserve|ExpandableSegment",
    ),
)
GPU_UNSUPPORTED = EndClass(
    "GPUUnsupported",
    EXIT_USER,
    "The image's torch was not built for this generation of GPUs, or for another driver: use an image whose torch and "
    "CUDA have kernels for it (runtime.image), or other nodes (placement.nodeSelector).",
    (
        r"no kernel image is available",
        r"is not compatible with the current PyTorch installation",
        r"PTX was compiled with an unsupported toolchain",
        r"provided PTX|unsupported PTX|PTX JIT compil",
        r"named symbol not found|invalid device function|device kernel image is invalid",
        r"forward compatibility was attempted on non supported HW",
        r"CUBLAS_STATUS_ARCH_MISMATCH|CUDNN_STATUS_ARCH_MISMATCH",
        r"Feature '[^']{0,60}' requires .target sm_",
        r"Value 'sm_\w{1,8}' is not defined for option",
        r"(?<!Bfloat16 is )only supported on (CUDA )?(devices|GPUs) with compute capability",
        r"requires (a )?compute capability",
        r"type fp8\w{1,12} not supported in this architecture",
    ),
)
GPU_FAILED = EndClass(
    "GPUFailed",
    EXIT_INFRASTRUCTURE,
    "A GPU or its driver failed; it is tried again. When the same node fails again, look for Xid errors in its log "
    "(dmesg), drain it and let the GPU be reset or replaced.",
    (
        r"uncorrectable ECC",
        r"ECC error",
        r"GPU is lost|fallen off the bus|GPU requires reset",
        r"CUDA (driver )?error: (unspecified launch failure|unknown error|hardware stack error|device not ready)",
        r"CUDA (driver )?error: .{0,40}(NVLink|nvlink)",
        r"CUDA (driver )?error: (system not yet initialized|system has unsupported display driver)",
        r"CUDA (driver )?error: (the launch timed out|launch timed out)",
        r"CUDA (driver )?error: (context is destroyed|driver shutting down|initialization error)",
        r"CUDA-capable device\(s\) is/are busy or unavailable",
        r"Driver/library version mismatch",
        r"NVML_ERROR_|NVMLError|nvmlInit|nvml\w* failed|Can't initialize NVML",
        r"\bXid\b",
    ),
    transient=True,
)
COMPILER_MISSING = EndClass(
    "CompilerMissing",
    EXIT_USER,
    "Something is compiled when the work starts, and the image lacks the CUDA toolkit (nvcc, CUDA_HOME) or a C++ "
    "compiler: use a development image (runtime.image), or leave out what is compiled: the offload variants of "
    "DeepSpeed (zero2 and zero3 need none), fused optimizers, a compiled model.",
    (
        r"MissingCUDAException",
        r"CUDA_HOME (does not exist|environment variable is not set)",
        r"unable to compile CUDA op",
        r"Unable to JIT load the \w{1,60} op",
        r"Error building extension",
        r"Ninja is required to load C\+\+ extensions",
        r"\bnvcc\b.{0,80}(not found|No such file)",
        r"No such file or directory: '[^']{0,200}nvcc'",
        r"CUDAMismatchException|Installed CUDA version .{0,60}does not match",
        r"(Failed to find|find) C compiler",
        r"No such file or directory: '(gcc|g\+\+|cc|c\+\+|ninja)'",
        r"InvalidCxxCompiler|BackendCompilerFailed|CppCompileError",
        r"fatal error: \w[\w.]{0,40}\.h: No such file",
        r"CalledProcessError: Command '(\[')?[^', ]{0,400}\b(gcc|g\+\+|cc|c\+\+|clang|nvcc|ptxas|ninja)[', ]"
        r"(?!.{0,6000}died with <Signals\.SIGKILL)",
    ),
)
CUDA_FAILED = EndClass(
    "CUDAFailed",
    EXIT_USER,
    "A CUDA kernel failed. Try it without what brings kernels of its own (liger, flash attention, packing), set "
    "CUDA_LAUNCH_BLOCKING to 1 in runtime.env to see where, and use another image (runtime.image) when it stays.",
    (
        r"illegal memory access",
        r"misaligned address",
        r"CUDA (driver )?error: ",
        r"CUBLAS_STATUS_\w+",
        r"CUDNN_STATUS_\w+",
        r"cuDNN error|CUSOLVER_STATUS|CUSPARSE_STATUS|cufft\w* error|NVRTC",
        r"Triton Error \[CUDA\]|triton[\w.]*\.OutOfResources|out of resource: shared memory",
        r"^(torch\.)?AcceleratorError",
    ),
)
VOLUME_LOST = EndClass(
    "VolumeLost",
    EXIT_INFRASTRUCTURE,
    "The storage behind the volume stopped answering; it is tried again. When it happens again, look at the server of "
    "the volume and at the node's mount (dmesg).",
    (
        r"Stale (NFS )?file handle",
        r"Transport endpoint is not connected",
        r"\[Errno 5\] Input/output error",
        r"Remote I/O error|\[Errno 512\]",
        r"\[Errno (70|103|107|108|112|116|117|121)\]",
        r"(os error|code:) (5|70|103|107|108|112|116|117|121)\b",
        r"\[Errno 110\] Connection timed out: '/",
        r"Structure needs cleaning",
        r"Bus error.{0,80}/(swiftop|data|models)/",
    ),
    transient=True,
)
VOLUME_UNSUPPORTED = EndClass(
    "VolumeUnsupported",
    EXIT_STORAGE,
    "The volume lacks what is needed (file locks, memory maps, links, renames), as some mounts of object storage and "
    "of NFS do: use a claim of another StorageClass for cache and output.",
    (
        r"No locks available|\[Errno 37\]",
        r"\[Errno (16|19|27|38|39|95)\]",
        r"The file lock .{1,500} could not be acquired",
        r"\[Errno 18\] Invalid cross-device link",
        r"unable to mmap",
        r"\[Errno 36\]",
        r"\[Errno 524\]",
    ),
)
SOURCE_READ_ONLY = EndClass(
    "SourceReadOnly",
    EXIT_STORAGE,
    "Claims of models and datasets, ConfigMaps and files are mounted read-only, and something wants to write beside "
    "what it reads: name the data file itself instead of its folder, or put a copy without that need on the claim (of "
    "a downloaded folder: without dataset_infos.json).",
)
SOURCE_UNREADABLE = EndClass(
    "SourceUnreadable",
    EXIT_STORAGE,
    "The pod's user may not read what is on that volume: set runtime.securityContext (runAsUser, fsGroup, "
    "supplementalGroups) to the owner of the files, or make them readable (chmod -R a+rX).",
)
PATH_NOT_WRITABLE = EndClass(
    "PathNotWritable",
    EXIT_STORAGE,
    "Only /tmp, the output and the cache are writable in the pod: let the library write there, by the variable that it "
    "takes its folder from (as HOME, XDG_CACHE_HOME, TRITON_CACHE_DIR, NUMBA_CACHE_DIR; USER where the user has no "
    "name) in runtime.env, or use an image that does not write into itself.",
    (r"no locator available for file", r"getpwuid\(\): uid not found"),
)
PROCESS_LIMIT = EndClass(
    "ProcessLimit",
    EXIT_HOST_MEMORY,
    "The pod may not have so many processes, threads or open files: use fewer worker processes (of a training "
    "dataloaderWorkers and datasetProcesses), set OMP_NUM_THREADS in runtime.env, or let the node allow more "
    "(podPidsLimit of the kubelet, the runtime's limit of open files).",
    (
        r"Too many open files",
        r"\[Errno 24\]",
        r"can't start new thread",
        r"Resource temporarily unavailable",
        r"received \d+ items of ancdata",
        r"pthread_create failed",
        r"Thread creation failed",
        r"libgomp: .{0,60}Resource temporarily",
    ),
)
CERTIFICATE_UNTRUSTED = EndClass(
    "CertificateUntrusted",
    EXIT_NETWORK,
    "The host's certificate is not trusted, as behind a proxy that reads along or on a mirror with a CA of its own: "
    "put the CA's bundle into a ConfigMap, and name its key in runtime.caBundle (of the platform caBundle in "
    "swiftop-defaults). Where the message speaks of a hostname, use the name that the certificate is for.",
    (
        r"CERTIFICATE_VERIFY_FAILED|certificate verify failed",
        r"self.signed certificate",
        r"unable to get (local )?issuer certificate",
        r"certificate has expired|Hostname mismatch|doesn't match either of",
        r"Could not find a suitable TLS CA certificate bundle|invalid path: .{0,200}(ca-?cert|\.crt|\.pem)",
    ),
)
ADDRESS_INVALID = EndClass(
    "AddressInvalid",
    EXIT_USER,
    "An address is incomplete: write it with https:// or http://, and without spaces, where it is set, as "
    "MODELSCOPE_ENDPOINT, HF_ENDPOINT or a proxy in runtime.env or in the platform's swiftop-defaults.",
    (
        r"(Missing|Invalid)Schema: |InvalidURL: |InvalidProxyURL",
        r"missing an 'http://' or 'https://' protocol|UnsupportedProtocol: ",
    ),
)
HOST_UNREACHABLE = EndClass(
    "HostUnreachable",
    EXIT_NETWORK,
    "The host that the message names does not answer; it is neither the hub nor the tracker: check who asks for it (a "
    "plugin, an image or a video in the data, a download of the library), and DNS, proxy and NetworkPolicy.",
    transient=True,
)
