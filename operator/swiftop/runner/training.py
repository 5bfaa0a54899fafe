"""How a training ends by its model, tuner and trainer. ``runner/causes.py`` has these among its own.

Most of them are found by the place that raised the exception (``runner/places.py``); the patterns are for what is told
far from there.
"""

from __future__ import annotations

from .ends import EXIT_UNKNOWN, EXIT_USER, EndClass

ARCHITECTURE_UNKNOWN = EndClass(
    "ArchitectureUnknown",
    EXIT_USER,
    "The image's transformers or ms-swift does not know this model yet: use an image with newer ones (runtime.image "
    "and runtime.swiftVersion), or another model.",
    (
        r"model type .{1,80} but Transformers does not recognize",
        r"Tokenizer class .{1,80} does not exist or is not currently imported",
        r"Unrecognized (processing|image processor|feature extractor|video processor) class",
        r"(cannot import name '[^']{1,80}' from|module) '?transformers",
        r"no suitable `model_type` was found",
        r"requires? transformers ?[>=]",
        r"Model architectures .{0,200}(not supported|failed to be inspected)",
        r"The current architecture .{0,80}not supported",
        r"Unrecognized configuration class",
        r"Please (upgrade|update) (your )?transformers",
        r"Transformers?( version)? .{0,60}(is )?too old",
    ),
)
NOT_AN_ADAPTER = EndClass(
    "NotAnAdapter",
    EXIT_USER,
    "What is named as an adapter is none, as it has no adapter_config.json: name a full model as the model instead (by "
    "its id or its claim), and an adapter by the folder of its checkpoint.",
    (
        r"is not an adapter",
        r"Can't find weights for |adapter_model\.\w{3,11} is present at",
        r"Can't find '?adapter_config\.json",
        r"adapter_config\.json.{0,200}(No such file|not found|does not exist)",
        r"(No such file|not found|does not exist).{0,200}adapter_config\.json",
    ),
)
TARGET_MODULES_MISSING = EndClass(
    "TargetModulesMissing",
    EXIT_USER,
    "The model has no modules of these names: use all-linear, or names of its linear layers (of most models q_proj, "
    "k_proj, v_proj, o_proj, gate_proj, up_proj and down_proj), in targetModules or modulesToSave of the tuner.",
    (
        r"Target modules? .{0,300}not found in the base model",
        r"No modules were targeted|No `target_modules` passed",
        r"Please (specify|set) `?target_modules",
        r"Target module .{0,200}is not supported",
        r"target_modules.{0,120}(not found|do(es)? not exist|no match)",
        r"modules_to_save.{0,120}(not found|do(es)? not exist|no match)",
        r"No parameter named .{0,80} found in|target_parameters.{0,120}not found",
    ),
)
TUNER_MISMATCH = EndClass(
    "TunerMismatch",
    EXIT_USER,
    "The tuner does not fit the model, as with an adapter of another model or a rank or option that it does not take: "
    "check the tuner's fields, and that adapter and model belong together.",
    (
        r"loading state_dict for (Peft|Lora|Swift)\w*",
        r"size mismatch for [\w.]{0,300}(lora_|adapter|modules_to_save)",
        r"^KeyError: '[\w.]{0,300}lora_[AB]",
        r"Tried to load (a|an|the) .{0,80}adapter",
        r"Adapter .{0,120}(not found|already exists|was trained)",
        r"peft_type|PeftType|PEFT_TYPE",
        r"Unsupported liger model_type",
    ),
)
MODEL_UNREADABLE = EndClass(
    "ModelUnreadable",
    EXIT_USER,
    "The model's files cannot be loaded: look for pointer files of git-lfs in place of weights, for a broken or "
    "partial download, and for weights that do not fit the configuration beside them; download the model again.",
    (
        r"SafetensorError: .{0,80}(header|deserializ|incomplete|metadata)",
        r"(header too (large|small)|InvalidHeader|MetadataIncompleteBuffer|incomplete metadata|InvalidOffset)",
        r"invalid load key",
        r"UnpicklingError|Weights only load failed",
        r"PytorchStreamReader failed",
        r"Unable to load weights from|unable to parse .{0,120}(weights|model)",
        r"size mismatch for ",
        r"loading state_dict for ",
        r"does not seem to be valid JSON|is not a valid JSON file|config file at .{0,200}not (a )?valid",
        r"git-lfs|LFS pointer",
        r"instantiate the backend tokenizer",
        r"expected (magic|data) .{0,60}(GGUF|safetensors)",
        r"You set `?ignore_mismatched_sizes",
        r"meta tensor; no data|out of meta tensor",
        r"No module named '?transformers_modules\.",  # code of a folder whose name is none of Python's
        r"(file named|No such file or directory:) ['\"]?\S{1,400}-\d{5}-of-\d{5}\.\w",
    ),
)
INDEX_OUT_OF_RANGE = EndClass(
    "IndexOutOfRange",
    EXIT_USER,
    "A token or a label lies outside of the model's tables: check that the tokenizer belongs to the model (vocabulary, "
    "new special tokens), that labels are below numLabels, and that samples are not longer than the model's positions.",
    (
        r"device-side assert",
        r"^IndexError: index out of range in self",
        r"^IndexError: Target -?\d+ is out of bounds",
        r"Assertion `?(srcIndex|t >= 0|index|-sizes|ind >= 0)",
        r"(index|indices) .{0,60}out of bounds: ",
    ),
)
PLUGIN_FAILED = EndClass(
    "PluginFailed",
    EXIT_USER,
    "The code of a plugin among the files of the spec failed: the message says how, and the last log lines where. "
    "Fix it, and apply it with a new name.",
    (r"ImportError: .{0,120}/swiftop/files/", r"No such file or directory: '/swiftop/files/"),
)
TRAINING_FAILED = EndClass(
    "TrainingFailed",
    EXIT_UNKNOWN,
    "The training loop failed in code of the model, of the trainer or of a library: look at the last log lines, try it "
    "without what is unusual (liger, packing, plugins, fields of extraArgs), and use another release of ms-swift "
    "(runtime.swiftVersion) when it stays.",
    vague=True,
)
