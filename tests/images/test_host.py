"""Which settings of the machine reach a build, and in what form."""

import stat
from pathlib import Path

from images import host


def test_pip_settings_follow_pips_own_precedence(tmp_path: Path) -> None:
    weak, strong = tmp_path / "weak.conf", tmp_path / "strong.conf"
    weak.write_text("[global]\nindex_url = https://weak/simple\ntimeout = 5\n")
    strong.write_text("[install]\nextra-index-url =\n    https://one\n    https://two\n")
    environ = {"PIP_INDEX_URL": "https://user:word@strong/simple", "PIP_DEFAULT_TIMEOUT": "180"}
    assert host.pip_settings(environ, [weak, strong, tmp_path / "absent.conf"]) == {
        "index-url": "https://user:word@strong/simple",
        "extra-index-url": "\nhttps://one\nhttps://two",
        "timeout": "180",
    }


def test_settings_that_name_paths_of_this_machine_stay_here(tmp_path: Path) -> None:
    file = tmp_path / "pip.conf"
    file.write_text("[global]\nfind-links = /opt/wheels\ncert = /etc/ca.crt\nuser = true\n")
    assert host.pip_settings({"PIP_FIND_LINKS": "/opt/wheels", "PIP_CERT": "/etc/ca.crt"}, [file]) == {}


def test_pip_conf_is_what_pip_reads_back(tmp_path: Path) -> None:
    settings = {"index-url": "https://mirror/simple", "extra-index-url": "\nhttps://one\nhttps://two"}
    file = tmp_path / "pip.conf"
    file.write_text(host.pip_conf(settings, with_ca=True))
    assert host.pip_settings({}, [file]) == settings
    assert "cert = /run/secrets/ca.crt" in file.read_text()
    assert "cert" not in host.pip_conf(settings, with_ca=False)


def test_apt_conf_says_only_how_to_reach_the_archive() -> None:
    dump = "\n".join(
        [
            'APT "";',
            'Acquire::http::Proxy "http://proxy:3128";',
            'Acquire::Check-Valid-Until "false";',
            'Acquire::cdrom::mount "/media";',
            'DPkg::Post-Invoke:: "rm -rf /";',
        ]
    )
    assert host.apt_conf(dump) == 'Acquire::http::Proxy "http://proxy:3128";\nAcquire::Check-Valid-Until "false";\n'


def test_the_ca_bundle_is_the_one_that_this_machine_uses(tmp_path: Path) -> None:
    named, system = tmp_path / "proxy.crt", tmp_path / "system.crt"
    system.write_text("system")
    assert host.ca_bundle({"PIP_CERT": str(named)}, bundles=[system]) == system
    named.write_text("proxy")
    assert host.ca_bundle({"PIP_CERT": str(named)}, bundles=[system]) == named
    assert host.ca_bundle({}, bundles=[]) is None


def test_the_bundle_that_pip_conf_names_counts_below_the_variable_and_above_the_rest(tmp_path: Path) -> None:
    conf, of_conf, of_variable, other = (tmp_path / name for name in ("pip.conf", "conf.crt", "variable.crt", "other"))
    for bundle in (of_conf, of_variable, other):
        bundle.write_text("PEM")
    conf.write_text(f"[global]\ncert = {of_conf}\n")
    environ = {"REQUESTS_CA_BUNDLE": str(other)}
    assert host.ca_bundle(environ, [conf], []) == of_conf
    assert host.ca_bundle({**environ, "PIP_CERT": str(of_variable)}, [conf], []) == of_variable
    assert host.ca_bundle(environ, [], []) == other


def test_secrets_are_readable_by_nobody_else(tmp_path: Path) -> None:
    bundle = tmp_path / "ca.crt"
    bundle.write_text("PEM")
    files = host.write_secrets(tmp_path / "secrets", {"PIP_CERT": str(bundle), "PIP_PROXY": "http://p"})
    assert set(files) == {"pip.conf", "apt.conf", "ca.crt"}
    assert files["ca.crt"].read_text() == "PEM"
    assert "proxy = http://p" in files["pip.conf"].read_text()
    assert stat.S_IMODE((tmp_path / "secrets").stat().st_mode) == 0o700


def test_a_bundle_of_pip_conf_reaches_the_build(tmp_path: Path) -> None:
    bundle, conf = tmp_path / "ca.crt", tmp_path / "pip.conf"
    bundle.write_text("PEM")
    conf.write_text(f"[global]\ncert = {bundle}\n")
    files = host.write_secrets(tmp_path / "secrets", {"PIP_CONFIG_FILE": str(conf), "HOME": str(tmp_path)})
    assert files["ca.crt"].read_text() == "PEM"
    assert files["pip.conf"].read_text().endswith(f"\ncert = {host.CA_IN_BUILD}\n")


def test_proxy_variables_become_build_arguments() -> None:
    environ = {"https_proxy": "http://p:1", "NO_PROXY": "", "HOME": "/root"}
    assert host.proxy_arguments(environ) == {"https_proxy": "http://p:1"}
