"""SFTRuns that are refused for how they train: attention, lengths, numbers, quantization, checkpoints."""

from __future__ import annotations

from tests.apiserver.sftrun_patches import FLASH, OTHER_JSON, case, starting_from, training

REFUSED = (
    # attention and packing
    case("packing without attention", training(packing=True, maxLength=2048), "spec.training", "attention: flash_attn"),
    case(
        "packing with sdpa",
        training(packing=True, maxLength=2048, attention="sdpa"),
        "spec.training",
        "need a flash attention",
    ),
    case(
        "packing with flex_attention",
        training(packing=True, maxLength=2048, attention="flex_attention"),
        "spec.training",
        "need a flash attention",
    ),
    case("paddingFree without attention", training(paddingFree=True), "spec.training", "need a flash attention"),
    case("packing without maxLength", training(packing=True, attention="flash_attn"), "spec.training", "maxLength"),
    # acceleration
    case("acceleration by a wrong name", training(acceleration="On"), "spec.training.acceleration"),
    case("acceleration off without quotes", training(acceleration=False), "spec.training.acceleration"),
    *(
        case(f"Approximate {name}", patch, "spec.training.acceleration", "8 bits on GPUs")
        for name, patch in (
            ("on the CPU", {**training(acceleration="Approximate"), "resources": {"gpus": 0}}),
            ("with full tuning", {**training(acceleration="Approximate"), "tuner": {"type": "full"}}),
            (
                "of quantized weights",
                {**training(acceleration="Approximate"), "tuner": {"quantization": {"method": "bnb", "bits": 4}}},
            ),
        )
    ),
    case("no samples in a step", training(globalBatchSize=0), "spec.training.globalBatchSize"),
    *(
        case(
            f"a whole batch and {name}",
            training(globalBatchSize=8, **{name: 2}),
            "spec.training.globalBatchSize",
            "the whole batch of a step",
        )
        for name in ("perDeviceBatchSize", "gradientAccumulationSteps")
    ),
    case(
        "a step that GPUs cannot share",
        {"training": {"globalBatchSize": 6}, "resources": {"gpus": 4}},
        "spec.training.globalBatchSize",
        "a multiple of their number",
    ),
    case(
        "a step that groups of GPUs cannot share",
        {"training": {"globalBatchSize": 3, "sequenceParallelSize": 2}, "resources": {"gpus": 4}},
        "spec.training.globalBatchSize",
        "a multiple of their number",
    ),
    case(
        "a step that processes cannot share",
        {"training": {"globalBatchSize": 4}, "resources": {"gpus": 0, "processesPerNode": 3}},
        "spec.training.globalBatchSize",
        "a multiple of their number",
    ),
    case("attention by a wrong name", training(attention="flash"), "spec.training.attention"),
    case(
        "flash attention in fp32",
        training(precision="fp32", attention="flash_attention_2"),
        "spec.training.attention",
        "use precision: bf16",
    ),
    case(
        "flash attention on the CPU",
        {"training": {"packing": True, **FLASH}, "resources": {"gpus": 0}},
        "spec.training.attention",
        "needs GPUs",
    ),
    case("sequences divided among too few", training(sequenceParallelSize=2), "spec.training", "a divisor"),
    case(
        "sequences divided unevenly",
        {"training": {"sequenceParallelSize": 3}, "resources": {"gpus": 4}},
        "spec.training.sequenceParallelSize",
        "a divisor",
    ),
    case(
        "sequences divided among GPUs of one process",
        {"training": {"sequenceParallelSize": 4}, "resources": {"gpus": 4, "processesPerNode": 1}},
        "spec.training.sequenceParallelSize",
        "a divisor",
    ),
    # streaming
    case("streaming without maxSteps", training(streaming=True), "spec.training", "set training.maxSteps"),
    case(
        "streaming with splitRatio",
        {"training": {"streaming": True, "maxSteps": 10}, "validation": {"splitRatio": "0.01"}},
        "spec.validation",
        "use validation.datasets",
    ),
    # sizes and numbers
    *(
        case(f"volume of size {size!r}", {"output": {"volume": {"size": size}}}, "spec.output.volume.size", "above 0")
        for size in ("0", "0Gi", "0.0Gi", "0e5")
    ),
    *(
        case(f"volume of size {size!r}", {"output": {"volume": {"size": size}}}, "spec.output.volume.size", "a size")
        for size in ("-5Gi", "much", "5 Gi", "", "5Gi\n", ".5Gi", "1e-3", "100m", "1e999", "1e9999999999")
    ),
    case("memory of 0", {"resources": {"memory": "0"}}, "spec.resources.memory", "above 0"),
    case("shared memory below 0", {"resources": {"sharedMemory": "-1Gi"}}, "spec.resources.sharedMemory", "a size"),
    case("no cpu", {"resources": {"cpu": 0}}, "spec.resources.cpu"),
    case("no cpu, in quotes", {"resources": {"cpu": "0"}}, "spec.resources.cpu"),
    *(
        case(f"cpu {cpu!r}", {"resources": {"cpu": cpu}}, "spec.resources.cpu")
        for cpu in ("-1", "0.0", "0m", "0.000", "1.5.5", "2k", "4Gi", "10M", "1E", "1e3", "1.5m", "0.0001", "1\n")
    ),
    case("gpus below 0", {"resources": {"gpus": -1}}, "spec.resources.gpus"),
    case("gpus left out", {"resources": {"gpus": None}}, "spec.resources.gpus"),
    case("no nodes", {"resources": {"nodes": 0}}, "spec.resources.nodes"),
    case("maxLength 0", training(maxLength=0), "spec.training.maxLength"),
    case("epochs below 0", training(epochs=-1), "spec.training.epochs"),
    *(
        case(f"epochs {epochs!r}", training(epochs=epochs), "spec.training.epochs")
        for epochs in (0, "0", "0.0", "1e2", "-1", "10001", 10001, "", "1.", ".5", "half", 0.5)
    ),
    *(
        case(f"{field} {steps!r}", {member: {field: steps}}, f"spec.{member}.{field}")
        for member, field in (("training", "evalSteps"), ("checkpoints", "saveSteps"))
        for steps in (0, "0", "0.0", "1.5", "1.0", "1e3", "-1", "2000000000", "", 0.1)
    ),
    case("batch of 0", training(perDeviceBatchSize=0), "spec.training.perDeviceBatchSize"),
    *(
        case(f"learning rate {rate!r}", training(learningRate=rate), "spec.training.learningRate", "a number above 0")
        for rate in ("fast", "", "0", "-1e-4", "1e", "1e-4x", "nan", ".5", "1e-4\n", "1e999", "1e-999")
    ),
    case("learning rate without quotes", training(learningRate=0.0002), "spec.training.learningRate"),
    case("warmup of more than all", training(warmupRatio="1.5"), "spec.training.warmupRatio", "below 1"),
    case("weight decay below 0", training(weightDecay="-1"), "spec.training.weightDecay", "at least 0"),
    case("dropout of all", {"tuner": {"dropout": "1"}}, "spec.tuner.dropout", "below 1"),
    case("split of nothing", {"validation": {"splitRatio": "0"}}, "spec.validation.splitRatio", "above 0"),
    case("split of all", {"validation": {"splitRatio": "1.0"}}, "spec.validation.splitRatio", "below 1"),
    *(
        case(f"{name} {value!r}", {"lifecycle": {name: value}}, f"spec.lifecycle.{name}")
        for name, value in (
            ("stallSeconds", 59),
            ("maxRetries", -1),
            ("maxRetries", 101),
            ("maxRetries", 1.5),
            ("activeDeadlineSeconds", 0),
            ("pendingDeadlineSeconds", 0),
            ("pendingDeadlineSeconds", 2**31),
            ("ttlSecondsAfterFinished", -1),
            ("ttlSecondsAfterFinished", 2**31),
            ("backoffLimit", 3),
        )
    ),
    case("suspend by a word", {"suspend": "later"}, "spec.suspend"),
    # types of files
    *(
        case(
            f"rows in {key}",
            {"datasets": [{"configMap": {"name": "c", "key": key}}]},
            "spec.datasets[0].configMap.key",
            "reads .jsonl",
        )
        for key in ("chats", "chats.xlsx", "chats.JSONL", "chats.jsonl.gz", "chats.ndjson", "jsonl")
    ),
    *(
        case(
            f"rows in {path} on a claim",
            {member: datasets},
            f"spec.{place}.persistentVolumeClaim.path",
            "let the path end in /",
        )
        for path in ("chats.xlsx", "a/chats.JSONL", "chats.jsonl.gz", "data.v1/rows.tsv", "chats.mp4")
        for source in ({"persistentVolumeClaim": {"claimName": "c", "path": path}},)
        for member, datasets, place in (
            ("datasets", [source], "datasets[0]"),
            ("validation", {"datasets": [source]}, "validation.datasets[0]"),
        )
    ),
    # tasks
    case("classes that nobody counted", training(task={"type": "seq_cls"}), "spec.training.task", "numLabels"),
    case("a task that no version has", training(task={"type": "classification"}), "spec.training.task.type"),
    case(
        "a name in English without an author",
        training(selfCognition={"name": "小黄", "author": "魔搭", "englishName": "Xiao Huang"}),
        "spec.training.selfCognition",
        "englishAuthor",
    ),
    # quantization, DeepSpeed and Liger
    case(
        "liger with several GPUs per process",
        {"training": {"liger": True}, "resources": {"gpus": 8, "processesPerNode": 4}},
        "spec.resources.processesPerNode",
        "one GPU per process",
    ),
    case(
        "quantization with full tuning",
        {"tuner": {"type": "full", "quantization": {"method": "bnb", "bits": 4}}},
        "spec.tuner.quantization",
        "use type: lora",
    ),
    *(
        case(
            f"{method} with {bits or 'no'} bits",
            {"tuner": {"quantization": {"method": method, **({"bits": bits} if bits else {})}}},
            "spec.tuner.quantization.bits",
            message,
        )
        for method, wrong, message in (
            ("bnb", (None, 1, 2, 3), "bits: 4 or 8"),
            ("hqq", (None,), "bits: 1 or 2 or 3 or 4 or 8"),
            ("eetq", (None, 1, 2, 3, 4), "bits: 8"),
            ("quanto", (None, 1, 3), "bits: 2 or 4 or 8"),
        )
        for bits in wrong
    ),
    case("quantization that cannot be trained", {"tuner": {"quantization": {"method": "fp8"}}}, "spec.tuner"),
    case("bits that no method knows", {"tuner": {"quantization": {"method": "hqq", "bits": 5}}}, "spec.tuner"),
    *(
        case(f"flag among {field}", {"tuner": {field: names}}, f"spec.tuner.{field}", "a leading dash")
        for field in ("targetModules", "modulesToSave")
        for names in (["--hub_token", "hf_x"], ["q_proj", "-x"], ["q_proj v_proj"])
    ),
    case(
        "bnb's setting with hqq",
        {"tuner": {"quantization": {"method": "hqq", "bits": 4, "quantType": "nf4"}}},
        "spec.tuner.quantization",
        "belong to method bnb",
    ),
    case(
        "deepspeed on the CPU",
        {"training": {"deepspeed": "zero2"}, "resources": {"gpus": 0}},
        "spec.training.deepspeed",
        "set resources.gpus",
    ),
    case(
        "deepspeed with several GPUs per process",
        {"training": {"deepspeed": "zero2"}, "resources": {"gpus": 8, "processesPerNode": 4}},
        "spec.resources.processesPerNode",
        "one GPU per process",
    ),
    case("deepspeed zero4", training(deepspeed="zero4"), "spec.training.deepspeed", "must be zero0"),
    case("deepspeed by a path", training(deepspeed="/etc/ds.json"), "spec.training.deepspeed"),
    case("deepspeed by no file", training(deepspeed="ds.json"), "spec.training.deepspeed", "not among files"),
    case(
        "deepspeed by another file",
        {"training": {"deepspeed": "ds.json"}, "files": [OTHER_JSON]},
        "spec.training.deepspeed",
        "not among files",
    ),
    case(
        "more processes than GPUs",
        {"resources": {"gpus": 2, "processesPerNode": 4}},
        "spec.resources.processesPerNode",
        "at most gpus",
    ),
    # GPUs of a claim
    case(
        "a claim of GPUs that nobody counts",
        {"resources": {"gpus": 0, "gpuClaim": {"resourceClaimTemplateName": "one-gpu"}}},
        "spec.resources.gpus",
        "how many GPUs",
    ),
    case("a claim without a name", {"resources": {"gpuClaim": {}}}, "spec.resources.gpuClaim", "exactly one of"),
    case(
        "a claim by two names",
        {"resources": {"gpuClaim": {"resourceClaimTemplateName": "a", "resourceClaimName": "b"}}},
        "spec.resources.gpuClaim",
        "exactly one of",
    ),
    # checkpoints and validation
    case(
        "splitRatio and validation data",
        {"validation": {"splitRatio": "0.01", "datasets": [{"id": "a/b"}]}},
        "spec.validation",
        "not both",
    ),
    case(
        "saveOnlyModel with resume Auto",
        {"checkpoints": {"saveOnlyModel": True, "resume": "Auto"}},
        "spec.checkpoints.saveOnlyModel",
        "remove checkpoints.resume",
    ),
    # starting from another run's checkpoint
    case("from a run without a name", starting_from(name=None), "spec.checkpoints.from.sftRunRef.name"),
    case("from nothing", {"checkpoints": {"from": {"weightsOnly": True}}}, "spec.checkpoints.from.sftRunRef"),
    case(
        "from a run whose name no run can have", starting_from(name="qwen2.5"), "spec.checkpoints.from.sftRunRef.name"
    ),
    case("from step 0", starting_from(step=0), "spec.checkpoints.from.sftRunRef.step"),
    case("from itself", starting_from(name="minimal"), "spec.checkpoints.from.sftRunRef.name", "name another SFTRun"),
    case(
        "from a checkpoint and from an adapter",
        {**starting_from(), "model": {"adapters": [{"id": "me/lora"}]}},
        "spec.checkpoints.from",
        "one place",
    ),
    case(
        "from a checkpoint behind the last step",
        {**starting_from(step=200), **training(maxSteps=200)},
        "spec.training.maxSteps",
        "weightsOnly: true",
    ),
)
