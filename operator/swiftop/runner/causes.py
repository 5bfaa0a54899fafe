"""Closed list of the ways in which work ends: reason, exit code, the texts that tell it, and what to do about it.

The operator imports this module for the same list, so a reason in a status is always one of these. The patterns are
matched against the text of an exception (or of argparse's last line), never against the whole log: warnings mention
everything. The order of ``FAILURES`` is the order of matching, so the narrow ones stand first.
"""

from __future__ import annotations

from typing import Optional

from . import image, machine, trackers, training
from .ends import (
    EXIT_ARTIFACT,
    EXIT_COLLECTIVE,
    EXIT_CUDA_MEMORY,
    EXIT_DATA,
    EXIT_FINISHED,
    EXIT_HOST_MEMORY,
    EXIT_INTERRUPTED,
    EXIT_STALLED,
    EXIT_STORAGE,
    EXIT_UNKNOWN,
    EXIT_USER,
    EndClass,
    bounded,
)
from .hub import causes as hub
from .serve import causes as serve

MAX_STEPS = EndClass("MaxSteps", EXIT_FINISHED)
MAX_EPOCHS = EndClass("MaxEpochs", EXIT_FINISHED)
EARLY_STOPPED = EndClass("EarlyStopped", EXIT_FINISHED)
COMPLETED = EndClass("Completed", EXIT_FINISHED)
INTERRUPTED = EndClass("Interrupted", EXIT_INTERRUPTED)
LOST = EndClass("Lost", EXIT_INTERRUPTED)  # ended without a message: killed together with its pod or node

CUDA_OUT_OF_MEMORY = EndClass(
    "CUDAOutOfMemory",
    EXIT_CUDA_MEMORY,
    "Lower training.perDeviceBatchSize and raise training.gradientAccumulationSteps by as much, set "
    "training.gradientCheckpointing: true, use training.deepspeed: zero2 or zero3, or shorten training.maxLength.",
    (
        r"(torch|cuda)[\w.]*\.OutOfMemoryError",
        r"^OutOfMemoryError",
        r"CUDA (error: )?out of memory",
        r"CUBLAS_STATUS_ALLOC_FAILED",
        r"CUDNN_STATUS_ALLOC_FAILED",
        r"CUBLAS_STATUS_NOT_INITIALIZED",  # what little memory is left does not take its workspace
        r"NPU out of memory",
        r"HIP out of memory",
        r"(CUDA|GPU|driver|runtime)( \w+)? error:? out of memory",
        r"No executable batch size found",  # accelerate's, which has tried all
        r"Not enough memory\..{0,80}mem.fraction.static",  # SGLang's
        r"Error in memory profiling",  # vLLM's, of another process on the GPU
        r"device_map`? .{0,80}(offloaded to the disk|contains a CPU or disk device)",  # the rest does not fit
        r"8-bit or 4-bit precision with CPU or disk offload",
        r"Cuda failure .{0,8}'out of memory'|Triton Error \[CUDA\]: out of memory",
        r"Make sure you have enough GPU RAM",
        r"NVML_SUCCESS == r INTERNAL ASSERT",  # it fails while it writes how much memory there is
        r"No available memory for the cache blocks|stored in (the )?KV cache|available KV cache memory",
        r"Free memory on device .{0,160}less than desired GPU memory utilization",
    ),
)
SHARED_MEMORY_EXHAUSTED = EndClass(
    "SharedMemoryExhausted",
    EXIT_HOST_MEMORY,
    "Raise resources.sharedMemory, or lower training.dataloaderWorkers.",
    (
        r"killed by signal: Bus error",
        r"out of shared memory",
        r"unable to (open|write to|mmap).{0,80}shared memory",
        r"No space left on device.{0,80}/dev/shm",
        r"/dev/shm/.{0,160}No space left on device|</torch_\d",
    ),
)
HOST_OUT_OF_MEMORY = EndClass(
    "HostOutOfMemory",
    EXIT_HOST_MEMORY,
    "Raise resources.memory, or lower training.dataloaderWorkers and training.datasetProcesses, or set "
    "training.streaming: true for a large dataset.",
    (
        r"^MemoryError",
        r"Cannot allocate memory",
        r"DefaultCPUAllocator: (can't|not enough)",
        r"DataLoader worker .{0,80}killed by signal: Killed",
        r"numpy[\w.]*\._ArrayMemoryError",
        r"ArrowMemoryError|malloc of size \d+ failed",
        r"std::bad_alloc",
        r"\[Errno 12\]",
        r"unable to allocate .{0,60}(memory|GiB|MiB|bytes)",
        r"A (process|worker) .{0,60}terminated (abruptly|unexpectedly)|BrokenProcessPool",
        r"One of the subprocesses has abruptly died during map operation",
    ),
    loose=(r"DataLoader worker .{0,80}exited unexpectedly",),
)
VOLUME_NOT_WRITABLE = EndClass(
    "VolumeNotWritable",
    EXIT_STORAGE,
    "Let the output volume belong to the pod's user: set runtime.securityContext (runAsUser, fsGroup), or choose a "
    "claim that is writable and not ReadOnlyMany.",
)
DISK_FULL = EndClass(
    "DiskFull",
    EXIT_STORAGE,
    "Free or enlarge the output volume (and the cache), lower checkpoints.keep, or save less often.",
    (
        r"No space left on device",
        r"Disk quota exceeded",
        r"Not enough disk space",
        r"No usable temporary directory found",  # /tmp of a pod is writable unless it is full
        r"PytorchStreamWriter failed writing file",
        r"unexpected pos \d+ vs \d+",  # torch.save, which goes on after the first failed write
    ),
)
OUTPUT_OCCUPIED = EndClass(
    "OutputOccupied",
    EXIT_STORAGE,
    "The output directory holds the data of another run: choose another output path or run name.",
    (r"FileExistsError: .{0,20}output_dir",),
)
OUTPUT_UNREADABLE = EndClass(
    "OutputUnreadable",
    EXIT_STORAGE,
    "Look at the output volume: swiftop-run.json in the run's directory tells whether it is finished. Remove a damaged "
    "one only when the run may train again.",
)
DATASET_NOT_FOUND = EndClass(
    "DatasetNotFound",
    EXIT_DATA,
    "Check the dataset's id, its hub (modelscope or huggingface) and subset, or the path in its claim or ConfigMap.",
    (
        r"The local path does not exist, dataset_id",
        r"Unable to find '.{0,500}\.(jsonl?|csv|parquet)",
        r"DatasetNotFoundError(?!: Dataset '[\w.-]{1,40}' doesn't exist)(?!.{0,300}(gated|authenticated))",
        r"(No such file or directory|Is a directory|Not a directory): '/(data|swiftop/datasets)/",
        r"datasets?/.{0,300}(\u4e0d\u5b58\u5728|not exist|not found)",
        r"\u4e0d\u5b58\u5728\u7684\u6570\u636e\u96c6|specify correct dataset_name",
        r"(split|subset|BuilderConfig) .{0,120}(not found|is not (available|found)|should be one of|not in)",
        r"Unknown split|Bad split|Couldn't find (any data file|a dataset script|file at)",
        r"Config name is missing",
        r"No \(supported\) data files",
        r"Dataset scripts are no longer supported",
        r"dataset_name .{0,80}not",
        r"DataFilesNotFoundError",
        r"EmptyDatasetError",
        r"Please input the training dataset",
        r"not found in DATASET_MAPPING",
        r"Please provide subsets",
        r"BuilderConfig .{0,80}not found",
        r"self\.dataset: \[\], self\.cached_dataset: \[\]",
        r"NotExistError.{0,300}/datasets?/|NotExistError: .{0,40}Dataset does not exist",
        r"(RepositoryNotFound|EntryNotFound|HTTP)Error: .{0,20}4(00|04|10|22)\b[^'\"]{0,300}/datasets?/",
        r"execut\w{1,3} to correctly load the dataset",
    ),
)
DATASET_EMPTY = EndClass(
    "DatasetEmpty",
    EXIT_DATA,
    "No row is left to train on or to evaluate: the file is empty, its rows are longer than training.maxLength or of "
    "no known format, or there are too few to split: check the file, the limit and validation.splitRatio.",
    (
        r"num_samples=0",
        r"num_samples should be a positive integer",
        r"`?train_dataset`? is empty",
        r"Failed to retrieve the dataset\. You can avoid this issue by increasing `?max_length",
        r"(train|eval|val)_dataset.{0,60}(is empty|has no (rows|samples|elements))",
        r"'eval_loss', which is not found in the evaluation metrics",  # ms-swift 3.x when no validation row is left
        r"With n_samples=\d+, .{0,120}the resulting (train|test) set will be empty",
        r"test_size=\d+ should be either positive and smaller than the number of samples",
        r"MaxLengthError",
        r"There seems to be not a single sample in your epoch_iterator",
        r"No columns in the dataset match the model's forward",
        r"(dataset|dataloader) (is empty|has no (rows|samples))|[Ee]mpty dataset|No data(set)? (rows|samples)",
        r"val_sample: \d+, len\(val_dataset\): \d+",
    ),
)
DATASET_FORMAT = EndClass(
    "DatasetFormat",
    EXIT_DATA,
    "Each line must be one JSON object with messages, conversations or system/conversation, all rows with the same "
    "types, in UTF-8, in a file that ends in .jsonl, .json, .csv, .txt or .parquet; rename other columns with "
    "training.columns. Roles have to alternate and end with the assistant.",
    (
        r"DatasetGenerationError",
        r"saved using `?save_to_disk",
        r"CastError",
        r"JSON parse error",
        r"pyarrow\.lib\.ArrowInvalid",
        r"JSONDecodeError.{0,200}(dataset|jsonl)",
        r"Column\(s\)? .{0,80}(doesn't|don't) match",
        r"KeyError: '?(messages|conversations?|value|from|role|content|query|response|images?)'?$",
        r"Couldn't (reach|find) '[\w.-]{1,40}' on the Hub",  # the extension of a file that ms-swift does not know
        r"Dataset '[\w.-]{1,40}' doesn't exist on the Hub",
        r"Couldn't cast|Couldn't infer|Schema at index|All the data files must have the same columns",
        r"pyarrow[\w.]*\.Arrow(?!Memory)\w+|ArrowTypeError|ArrowNotImplementedError",
        r"(column|features?) .{0,120}(don't|doesn't|does not|do not) (match|exist)|column names? .{0,60}not in",
        r"Error tokenizing data|EmptyDataError|ParserError",
        r"NonMatching\w{1,40}Error",
        r"Not a gzipped file|BadGzipFile|BadZipFile|ZstdError|Parquet magic bytes not found",
        r"Conversation roles must alternate|roles must alternate",
        r"(query_role|response_role): ",
        r"cannot identify image file|UnidentifiedImageError|image file is truncated|DecompressionBomb",
        r"(moov atom not found|Could not open .{0,120}(video|audio)|Invalid data found when processing input)",
        r"len\(idx_list\): \d+, len\(images\): \d+|(image|video|audio)s?.{0,60}(tokens?|placeholders?).{0,60}match",
        r"^UndefinedError|jinja2[\w.]*\.(UndefinedError|TemplateError)",
        r"^AssertionError: (message|messages|query|bbox|rejected_response)s?: ",
    ),
)
DATA_INVALID = EndClass(
    "DataInvalid",
    EXIT_DATA,
    "Fix the rows that status.badRows names, and apply the upload with a new name; maxBadRows tolerates some rows that "
    "ms-swift would drop.",
)
LOSS_NAN = EndClass(
    "LossNaN",
    EXIT_USER,
    "The loss is NaN: lower training.learningRate, prefer training.precision: bf16 over fp16, and look "
    "for broken rows in the dataset.",
    (
        r"loss (is|became) (nan|inf)",
        r"returned nan values|NaNs detected in the merged weights",
        r"contains either `?inf`?, `?nan`?",
        r"Current loss scale already at minimum",
        r"FloatingPointError",
        r"probability tensor contains either",
        r"(loss|gradient|grad_norm).{0,40}\b(nan|inf)\b",
    ),
)
INVALID_ARGUMENTS = EndClass(
    "InvalidArguments",
    EXIT_USER,
    "ms-swift refuses an argument: compare training and extraArgs with the flags of its version (swiftop preview).",
    (
        r"remaining_argv",
        r": error: (argument|unrecognized|the following arguments|ambiguous)",
        r"invalid choice",
        r"not compatible with",
        r"are incompatible",
        r"ArgumentError",
        r"HfArgumentParser",
        r"Please use one of",
        r"is not a valid \w+, please select one of",
        r"(template|model)_type: '[^']{0,200}' not in \[",
        r"--load_best_model_at_end requires|load_best_model_at_end",
        r"(are|is) mutually exclusive|(cannot|can't) be (set|used) (at the same time|together|with)",
        r"trust_remote_code=True",
        r"chat_template is not set|does not have a chat template",
        r"`?--\w+( \w+)?`? (requires|must|should|cannot|can only|is (currently )?only|does not|doesn't)",
        r"`\w+` training argument is|^ValueError: \w+_impl (is|are) only supported",
        r"^(Value|Assertion|Type)Error: (self|args)\.\w+",
        r"max_steps has to be specified|max_steps.{0,40}(must|should|required)",
        r"DeepSpeed ?Config|ds_config|deepspeed config|train_batch_size is not equal|zero_optimization",
        r"Please pass the parameter `|Please set `?(--)?\w+",
        r"\bmax_lora_rank\b|IterableDataset does not support",
        r"does(n't| not) support (device_map|padding free|packing|streaming|lazy_tokenize)",
        r"The selected optimizer|Invalid optimizer|Trainer cannot instantiate unsupported optimizer",
        r"evaluation strategy .{0,60}requires|EvalStrategy|IntervalStrategy|SchedulerType|lr_scheduler_kwargs",
    ),
    loose=(
        r"\bargs\.\w+: ",
        r"got an unexpected keyword argument",
        r"\bincompatible\b",
        r"(is|are) (currently )?only supported (for|in|with|when)",
        r"(must|should) be (a|an|in|less|greater|positive|between|one of|divisible)\b",
        r"divisible by",
        r"rope_scaling|max_position_embeddings",
    ),
)
COLLECTIVE_FAILED = EndClass(
    "CollectiveFailed",
    EXIT_COLLECTIVE,
    "The processes lost each other: look at the other pods and the nodes' network first, then at NCCL settings in "
    "runtime.env (NCCL_SOCKET_IFNAME, NCCL_IB_DISABLE, NCCL_DEBUG=INFO).",
    (
        r"\b[NRH]CCL (error|operations?|communicator|function|timeout)",
        r"ncclSystemError|ncclInternalError|ncclRemoteError|ncclUnhandledCudaError",
        r"gloo/transport/",
        r"\bgloo\w*\.cc:\d|Gloo connect",
        r"ProcessGroup\w*",
        r"EADDRINUSE|Address already in use",
        r"Timed out (initializing|waiting)|client socket has (failed|timed out)|The server socket has failed",
        r"DistBackendError|DistNetworkError|DistStoreError",
        r"RendezvousConnectionError",
        r"Rendezvous\w*Error",
        r"Watchdog caught collective",
        r"Broken pipe",
        r"Connection reset by peer",
        r"store->get",
        r"monitoredBarrier",
        r"TCPStore",
    ),
    transient=True,
    vague=True,
)
SECRET_MISSING = EndClass(
    "SecretMissing",
    EXIT_USER,
    "Add the named key to the credentials Secret.",
)
VERSION_MISMATCH = EndClass(
    "VersionMismatch",
    EXIT_USER,
    "Set runtime.swiftVersion to the version in the image, or runtime.image to an image of that version.",
)
GPU_MISSING = EndClass(
    "GPUMissing",
    EXIT_USER,
    "The container sees too few GPUs, or CUDA does not start on them: check the node's device plugin and driver, "
    "CUDA_VISIBLE_DEVICES in the image, and resources.gpuResource.",
    (
        r"No CUDA GPUs are available",
        r"No GPU (or XPU )?found\.",
        r"Found no NVIDIA driver",
        r"CUDA driver version is insufficient",
        r"no NVIDIA GPU detected",
        r"CUDA error: invalid device ordinal",
        r"CPU-only version of bitsandbytes",
        r"\bno GPUs found|\b0 active drivers",
        r"Torch not compiled with CUDA enabled",
        r"CUDA unknown error",
        r"CUDA initialization:",
        r"driver on your system is too old",
        r"cudaGetDeviceCount",
        r"Error 80\d: ",
        r"libcuda\.so",
        r"Invalid device id|invalid device ordinal|device_count",
        r"Duplicate GPU detected|Failed to infer device type|CUDA driver initialization failed",
        r"CUDA is not available|Attempting to deserialize object on (a )?CUDA",
        r"CUDA error: no CUDA-capable device",
    ),
)
STALLED = EndClass(
    "Stalled",
    EXIT_STALLED,
    "No step was logged for too long: look at the last log lines and the GPUs (nvidia-smi); raise "
    "lifecycle.stallSeconds when steps are just slow.",
    transient=True,
)
STEP_STALLED = EndClass(
    "StepStalled",
    EXIT_STALLED,
    "Look at the last log lines: a chat template or code of the model may never end, and a volume or a hub may no "
    "longer answer. Apply it with a new name once that is fixed.",
)
NO_PROGRESS = EndClass(
    "NoProgress",
    EXIT_STALLED,
    "It was interrupted three times in a row before a new checkpoint was kept: save more often with "
    "checkpoints.saveSteps, or run it where it is not taken away so soon (placement.priorityClassName, other nodes); "
    "then apply it with a new name.",
)
WEIGHTS_MISSING = EndClass(
    "WeightsMissing",
    EXIT_USER,
    "The checkpoint has no weights that can be exported: let training save consolidated safetensors (for DeepSpeed "
    "ZeRO-3 stage3_gather_16bit_weights_on_model_save: true), or export another checkpoint.",
    (r"Cannot find any model weights",),
)
QUANTIZATION_UNSUPPORTED = EndClass(
    "QuantizationUnsupported",
    EXIT_USER,
    "The method cannot quantize this model, or not on this GPU, or the model is quantized already: choose another "
    "tuner.quantization.method (bnb takes nearly every model), name a model in full precision, or train without "
    "tuner.quantization.",
    (
        r"Matrix dimensions .{0,80}must be divisible by block sizes",
        r"size mismatch for [\w.]*weight_scale_inv",  # transformers 4.57 of a size that is 128 itself
        r"FP8 quantized models is only supported on GPUs with compute capability",
        r"^TypeError: [\w.-]+ isn't supported yet",
        r"not support quant_bits",
        r"^NotImplementedError: .{0,120}quantiz",
        r"quantization only supports 16/32-bit floats|only Tensors of floating point dtype can require gradients",
        r"already quantized",
        r"quantization method \w{1,40} is not supported",
    ),
)
VERIFICATION_FAILED = EndClass(
    "VerificationFailed",
    EXIT_ARTIFACT,
    "The exported model is not what it should be, and is not published. The message names the tensor or file: check "
    "that base model and adapter belong together and that the volume is sound, then export again.",
)
SOURCE_CHECKPOINT_MISSING = EndClass(
    "CheckpointMissing",
    EXIT_USER,
    "Check checkpoints.from: the run has to have a complete checkpoint of that step on its volume. Without step the "
    "newest complete one is taken.",
)
SOURCE_CHECKPOINT_UNFIT = EndClass(
    "CheckpointUnfit",
    EXIT_USER,
    "Train with the same model and tuner as the other run (model.id, tuner.type, tuner.rank); when only its optimizer "
    "state does not fit, set checkpoints.from.weightsOnly: true, which needs the weights alone.",
    (
        r"loaded state dict .{0,120}(parameter group|size|different number)",
        r"(optimizer|scheduler|rng_state|scaler)\w*\.(pt|pth|bin).{0,200}(No such file|not found|failed)",
        r"No such file or directory: '[^']{0,400}/checkpoint-\d+/",
        r"Can't find a valid checkpoint at|trainer_state\.json",
        r"world size .{0,80}(mismatch|different|changed)|dp_world_size|universal checkpoint",
        r"world size of \d+ but the current world size is",
    ),
)
UNKNOWN = EndClass(
    "Unknown",
    EXIT_UNKNOWN,
    "See the last log lines in status.failure.log and the pod's log.",
    vague=True,
)

FINISHED = (MAX_STEPS, MAX_EPOCHS, EARLY_STOPPED, COMPLETED, serve.DRAINED)

FAILURES = (
    CUDA_OUT_OF_MEMORY,
    SHARED_MEMORY_EXHAUSTED,
    HOST_OUT_OF_MEMORY,
    trackers.AUTH_FAILED,
    trackers.UNREACHABLE,
    image.FLASH_ATTENTION_MISSING,
    image.DEEPSPEED_MISSING,
    machine.SEGMENTS_UNSUPPORTED,
    machine.GPU_UNSUPPORTED,
    machine.GPU_FAILED,
    machine.COMPILER_MISSING,
    training.ARCHITECTURE_UNKNOWN,
    GPU_MISSING,
    image.PACKAGE_BROKEN,
    image.PACKAGE_MISSING,
    image.PRECISION_UNSUPPORTED,
    VOLUME_NOT_WRITABLE,
    DISK_FULL,
    machine.VOLUME_LOST,
    machine.VOLUME_UNSUPPORTED,
    machine.SOURCE_READ_ONLY,
    machine.SOURCE_UNREADABLE,
    machine.PATH_NOT_WRITABLE,
    machine.PROCESS_LIMIT,
    machine.CERTIFICATE_UNTRUSTED,
    machine.ADDRESS_INVALID,
    OUTPUT_OCCUPIED,
    OUTPUT_UNREADABLE,
    DATASET_NOT_FOUND,
    DATASET_EMPTY,
    DATASET_FORMAT,
    DATA_INVALID,
    hub.HUB_AUTH_FAILED,
    training.NOT_AN_ADAPTER,
    training.TARGET_MODULES_MISSING,
    training.TUNER_MISMATCH,
    hub.MODEL_NOT_FOUND,
    hub.HUB_UNREACHABLE,
    machine.HOST_UNREACHABLE,
    SOURCE_CHECKPOINT_UNFIT,
    training.MODEL_UNREADABLE,
    training.INDEX_OUT_OF_RANGE,
    training.PLUGIN_FAILED,
    trackers.FAILED,
    machine.CUDA_FAILED,
    LOSS_NAN,
    INVALID_ARGUMENTS,
    COLLECTIVE_FAILED,
    SECRET_MISSING,
    VERSION_MISMATCH,
    STALLED,
    STEP_STALLED,
    NO_PROGRESS,
    WEIGHTS_MISSING,
    QUANTIZATION_UNSUPPORTED,
    VERIFICATION_FAILED,
    SOURCE_CHECKPOINT_MISSING,
    *hub.PUBLISHING,
    *serve.FAILURES,
    training.TRAINING_FAILED,
    UNKNOWN,
)
BY_REASON = {cause.reason: cause for cause in (*FINISHED, INTERRUPTED, LOST, *FAILURES)}
DOCUMENTED_EXIT_CODES = frozenset(cause.exit_code for cause in BY_REASON.values()) - {EXIT_FINISHED}
"""Exit codes by which the runner tells how its work ended; 0 aside, which no podFailurePolicy may name."""


def match(text: str, *, loose: bool = False, vague: bool = True) -> Optional[EndClass]:
    """First cause whose pattern is in ``text``, or whose ``loose`` one is; None when no cause knows it.

    ``vague``: whether it may be a vague one.
    """
    shown = bounded(text)
    found = next((c for c in FAILURES if (vague or not c.vague) and c.matches(shown, loose=loose)), None)
    goes_on = "" if found else _sentence(shown)
    if not goes_on:
        return found
    return next((c for c in FAILURES if not c.vague and c.matches(goes_on, loose=loose)), None)


def _sentence(text: str) -> str:
    """Its first line with the next one, where that goes on with it; else nothing."""
    first, _, rest = text.partition("\n")
    following = next((line.strip() for line in rest.split("\n") if line.strip()), "")
    ends = first.rstrip().endswith((".", ")")) and "(Request ID: " not in first
    return f"{first} {following}" if following and not ends else ""
