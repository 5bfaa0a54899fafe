"""Children of a ModelDeployment: a Service of its name, the Deployment behind it, and what goes with them."""

from __future__ import annotations

from typing import Any

from swiftop import names
from swiftop.batch.origin import SOURCE_DIR
from swiftop.kinds.modeldeployment import live
from swiftop.kinds.modeldeployment.command import model_path, mounted_claims, remote
from swiftop.kinds.modeldeployment.gate import prompts
from swiftop.kinds.modeldeployment.prepare import Prepared
from swiftop.runner.protocol import NVIDIA, Plan, ServeSettings
from swiftop.runner.typed_json import to_json
from swiftop.swift import paths, secrets
from swiftop.swift.argv import threads
from swiftop.swift.secrets import SecretVar
from swiftop.workload import deployment as workload
from swiftop.workload.meta import plan_owner
from swiftop.workload.pods import Pod
from swiftop.workload.volumes import Volumes

Object = dict[str, Any]

KEY_ENV = "SWIFTOP_API_KEY"
# It tells its makers of each start otherwise, and keeps a cache where nothing can be written.
_ENGINE_ENV = {"vllm": {"VLLM_NO_USAGE_STATS": "1", "VLLM_CACHE_ROOT": f"{paths.WORK_DIR}/vllm"}}
# Without a GPU: the probabilities that the guard asks for are gathered by a function that torch would compile, which
# ends the engine in an image that has no compiler.
_CPU_ENV = {"vllm": {"TORCH_COMPILE_DISABLE": "1"}}
_MARGIN_SECONDS = 45  # of the grace period, above what the guard is given for its own end after the last answer


def objects(prepared: Prepared) -> list[Object]:
    """Children in the order in which they are made: no GPU is taken before the name of the Service is ours."""
    owner, spec = prepared.deployment, prepared.spec
    name, options, scaling = owner.metadata.name, prepared.spec.service, prepared.spec.autoscaling
    server = names.server_name(names.MODELDEPLOYMENT, name)
    children = [
        workload.service(owner, name=name, type_=options.type, port=options.port, annotations=options.annotations)
    ]
    if max(prepared.replicas, scaling.max if scaling else 0) > 1:
        children.append(workload.disruption_budget(owner, name=server))
    if scaling is not None:
        low, high, aim = scaling.min, scaling.max, scaling.target
        children.append(workload.autoscaler(owner, name=server, target=server, low=low, high=high, in_flight=aim))
    if prepared.files:
        children.append(_adapters(prepared))
    made = workload.deployment(
        _pod(prepared),
        name=server,
        replicas=prepared.replicas,
        digest=prepared.digest,
        resolved=prepared.resolved,
        load_seconds=spec.timeouts.load_seconds,
    )
    there = prepared.made
    if there is not None and there.withdrawn is not None:
        made = workload.as_it_is(made, digest=there.digest, resolved=there.resolved, withdrawn=there.withdrawn)
    return [*children, made]


def _adapters(prepared: Prepared) -> Object:
    """What the pods follow, with where the results lie that it names."""
    owner = prepared.deployment
    own = live.of_the_model(owner.spec, prepared.found)
    sources = [one.recorded() for ref, one in prepared.found.items() if ref not in own]
    name = names.adapters_name(names.MODELDEPLOYMENT, owner.metadata.name)
    return workload.adapters(owner, name=name, files=prepared.files, resolved={"sources": sources})


def _pod(prepared: Prepared) -> Pod:
    spec = prepared.spec
    env = {**paths.cache_env(spec.cache), **_ENGINE_ENV.get(spec.engine, {})}
    if not spec.resources.gpus:
        env["CUDA_VISIBLE_DEVICES"] = ""  # a GPU that the node shows to every container is not this pod's
        env["OMP_NUM_THREADS"] = str(threads(spec.resources.cpu or "1", 1))
        env |= _CPU_ENV.get(spec.engine, {})
    return Pod(
        owner=prepared.deployment,
        spec=spec,
        labels={names.LABEL_REVISION: prepared.digest},
        plan=_plan(prepared),
        volumes=_volumes(prepared),
        env=env,
        secrets=tuple(_secrets(prepared)),
        grace_seconds=spec.timeouts.drain_seconds + spec.timeouts.answer_seconds + _MARGIN_SECONDS,
        ports=workload.serve_ports(),
        probes=workload.probes(load_seconds=spec.timeouts.load_seconds),
    )


def _plan(prepared: Prepared) -> Plan:
    owner, spec, times = prepared.deployment, prepared.spec, prepared.spec.timeouts
    follows = live.is_live(owner.spec)
    settings = ServeSettings(
        engine=spec.engine,
        server=spec.server,
        name=owner.served_name,
        model=model_path(spec, prepared.found),
        native=prepared.native,
        swift_only=prepared.swift_only,
        adapters=() if follows else live.declared_by(owner.spec, prepared.found),
        adapters_file=live.file_of(prepared.digest) if follows else "",
        model_revision=spec.model.revision or "",
        hub=spec.model.hub or "",
        key_env=KEY_ENV if spec.api_key else "",
        drain_seconds=float(times.drain_seconds),
        answer_seconds=float(times.answer_seconds),
        stall_seconds=float(times.stall_seconds),
        load_seconds=float(times.load_seconds),
        gate=prompts(owner),
    )
    return Plan(
        program="serve",
        owner=plan_owner(owner),
        attempt=1,
        command=prepared.command,
        output_dir=paths.WORK_DIR,
        settings=to_json(settings),
        swift_version=spec.runtime.swift_version,
        gpus=spec.resources.gpus,
        gpu_resource=spec.resources.gpu_resource or NVIDIA,
        cache_dir=paths.cache_dir(spec.cache) if remote(spec) and spec.cache else None,
        cache_keys=_cache_keys(prepared),
    )


def _cache_keys(prepared: Prepared) -> tuple[str, ...]:
    """What is downloaded once for all pods that share the cache."""
    spec = prepared.spec
    if spec.cache is None:
        return ()
    ids = (spec.model.id, *sorted(adapter.id for adapter in spec.adapters if adapter.id))
    return tuple(f"{spec.model.hub or 'modelscope'}:{id_}" for id_ in ids if id_)


def _secrets(prepared: Prepared) -> list[SecretVar]:
    """The token of the hub that is read from, and the key that clients have to send."""
    spec = prepared.spec
    found = secrets.hub_tokens(spec.credentials, {spec.model.hub or "modelscope"} if remote(spec) else set())
    if spec.api_key is not None:
        found.append(SecretVar(KEY_ENV, spec.api_key.name, spec.api_key.key, optional=False))
    return found


def _volumes(prepared: Prepared) -> Volumes:
    spec = prepared.spec
    found = Volumes(prepared.deployment, spec, runner_config_map=prepared.runner_config_map)
    # In an order that a change of the adapters does not change.
    for claim in sorted({one.claim_name for one in prepared.found.values()}):
        found.read_only_claim(claim, SOURCE_DIR)
    for claim in sorted(mounted_claims(spec)):
        found.read_only_claim(claim, paths.CLAIM_MODELS_DIR)
    if live.is_live(prepared.deployment.spec):
        name = names.adapters_name(names.MODELDEPLOYMENT, prepared.deployment.metadata.name)
        found.add("adapters", {"configMap": {"name": name}}, paths.ADAPTERS_DIR, read_only=True)
    return found
