"""What the packager promises under attack, faults, kills and load, and which tests try each promise."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Promise:
    """`tests` begin the identifiers of the tests that try it: `path::name`, or a path for every test in it."""

    group: str
    says: str
    tests: tuple[str, ...]

    def is_tried_by(self, test: str) -> bool:
        return test.startswith(self.tests)


_ARCHIVES, _ZIPS = "tests/hostile/test_archives.py", "tests/hostile/test_zips.py"
_COMMANDS = "tests/hostile/test_zip_commands.py"
_FAULTS, _ANSWERS = "tests/packager/stores/test_s3_faults.py", "tests/packager/stores/test_s3_answers.py"
_STOPPING, _DEATH = "tests/end_to_end/test_stopping.py", "tests/end_to_end/test_sudden_death.py"
_LOAD = "tests/end_to_end/test_load.py"

PROMISES = (
    Promise(
        "hostile",
        "An archive that is a bomb is refused with a typed error, in at most 20 s and 200 MiB.",
        (f"{_ARCHIVES}::test_a_bomb",),
    ),
    Promise("hostile", "An archive that is cut anywhere is refused.", (f"{_ARCHIVES}::test_every_truncation",)),
    Promise(
        "hostile",
        "A flipped bit that a checksum covers is refused, and any other changes nothing.",
        (f"{_ARCHIVES}::test_every_flipped_bit",),
    ),
    Promise(
        "hostile",
        "A hostile artifact is refused with a typed error, and nothing is published.",
        ("tests/end_to_end/test_archives.py::test_a_hostile",),
    ),
    Promise(
        "hostile",
        "A hostile tar, its cuts and flipped bits, and a lying ZIP are refused in every container, or read exactly.",
        ("tests/hostile/test_containers.py",),
    ),
    Promise("hostile", "No name of a member reaches `open()`.", (f"{_ARCHIVES}::test_no_name_of_a_hostile_member",)),
    Promise("hostile", "`check` finds a fault in a ZIP that lies.", (f"{_ZIPS}::test_a_lying_zip",)),
    Promise(
        "hostile",
        "A ZIP that lies ends every command in words, and no recipe is made of a damaged one.",
        (f"{_COMMANDS}::test_a_lying_zip",),
    ),
    Promise(
        "hostile",
        "100,000 members, and a ZIP that is a bomb, of 10 MB take no command more than 20 s or 200 MiB.",
        ("tests/hostile/test_many.py", f"{_COMMANDS}::test_a_bomb"),
    ),
    Promise(
        "hostile",
        "What SageMaker, macOS, 7-Zip and the usual tools pack is packaged, and six readers find its content.",
        ("tests/hostile/test_made.py",),
    ),
    Promise(
        "differential",
        "Where tarfile, GNU tar and bsdtar disagree about an archive, it is refused, or read as most of them read it.",
        (f"{_ARCHIVES}::test_where_readers_disagree",),
    ),
    Promise(
        "differential",
        "What Java refuses, or unpacks to something else than the directory says, `check` finds.",
        (f"{_ZIPS}::test_what_java_refuses", f"{_ZIPS}::test_a_sound_zip"),
    ),
    Promise(
        "fuzz",
        "No input makes a reader of archives, ZIPs, manifests, events, alarms or templates raise an untyped error.",
        ("tests/fuzz/test_fuzz.py",),
    ),
    Promise(
        "faults",
        "A request to S3 that breaks is made again, or fails with a typed error and leaves nothing.",
        (f"{_FAULTS}::", f"{_ANSWERS}::"),
    ),
    Promise(
        "faults",
        "Any S3 server holds the same bytes, or is refused: moto, a strict one, rclone, nanio, s3rver, Ceph, Swift.",
        ("tests/packager/stores/test_servers.py",),
    ),
    Promise(
        "faults",
        "What a bucket demands (encryption, owner, payer, region, access point, renewed keys) is given, or named.",
        ("tests/packager/stores/test_strict.py", "tests/packager/stores/test_policies.py"),
    ),
    Promise(
        "faults",
        "When S3 says nothing, a signal ends the command in 5 s (20 s if busy), and no signal in `S3_GIVE_UP_S`.",
        (f"{_STOPPING}::",),
    ),
    Promise("faults", "Where 30 of 100 requests are refused with 503, a package succeeds.", (f"{_LOAD}::test_30_",)),
    Promise(
        "faults",
        "Where 50 of 100 requests are refused with 503, 95 of 100 packages succeed.",
        (f"{_LOAD}::test_50_",),
    ),
    Promise("kills", "SIGTERM at any moment leaves nothing half made.", (f"{_DEATH}::test_sigterm",)),
    Promise("kills", "SIGHUP at any moment leaves nothing half made.", (f"{_DEATH}::test_sighup",)),
    Promise(
        "kills", "SIGKILL at any moment leaves nothing half made after the next start.", (f"{_DEATH}::test_sigkill",)
    ),
    Promise("kills", "A disk that is full at any moment leaves nothing half made.", (f"{_DEATH}::test_a_full_disk",)),
    Promise("kills", "Two writers of one component leave one whole component.", (f"{_DEATH}::test_two_writers",)),
    Promise(
        "load",
        "From S3 to S3, a package takes at most 64 MiB over the idle process, eight at once 400 MiB.",
        (f"{_LOAD}::test_memory",),
    ),
    Promise(
        "load", "300 packages in one process take no more memory, files or threads than 100.", (f"{_LOAD}::test_300_",)
    ),
)

GROUPS = tuple(dict.fromkeys(promise.group for promise in PROMISES))
