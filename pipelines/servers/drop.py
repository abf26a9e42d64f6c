"""Become an ordinary user that still reads and writes root's files, then run a command.

For root where util-linux's setpriv is missing: ``python drop.py UID PROGRAM [ARGUMENT ...]``.
Runs by itself, on the standard library alone; see ``rights`` for why.
"""

import ctypes
import os
import sys

NOBODY = 65534
_DAC_OVERRIDE = 1  # linux/capability.h
_CAPABILITY_VERSION_3 = 0x20080522
_PR_SET_SECUREBITS, _SECBIT_NO_SETUID_FIXUP = 28, 1 << 2  # linux/prctl.h, linux/securebits.h
_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_RAISE = 47, 2


def drop(uid: int) -> None:
    """Change to `uid`, keeping only the capability that looks past file permissions.

    Without SECBIT_NO_SETUID_FIXUP the kernel would clear all capabilities together with uid 0;
    an ambient one survives the exec of an ordinary program.

    Raises
    ------
    OSError
        If the kernel does not allow it.
    """
    libc = ctypes.CDLL(None, use_errno=True)

    def call(name: str, *arguments: object) -> None:
        if getattr(libc, name)(*arguments) != 0:
            raise OSError(ctypes.get_errno(), f"{name}: {os.strerror(ctypes.get_errno())}")

    def prctl(option: int, *arguments: int) -> None:
        padded = (*arguments, 0, 0, 0, 0)[:4]
        call("prctl", option, *(ctypes.c_ulong(argument) for argument in padded))

    prctl(_PR_SET_SECUREBITS, _SECBIT_NO_SETUID_FIXUP)
    os.setgroups([])
    os.setresgid(NOBODY, NOBODY, NOBODY)
    os.setresuid(uid, uid, uid)
    kept = 1 << _DAC_OVERRIDE
    header = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION_3, 0)  # 0: this process
    # effective, permitted, inheritable: capabilities 0 to 31, then 32 to 63
    call("capset", header, (ctypes.c_uint32 * 6)(kept, kept, kept, 0, 0, 0))
    prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_RAISE, _DAC_OVERRIDE)


if __name__ == "__main__":
    drop(int(sys.argv[1]))
    os.execv(sys.argv[2], sys.argv[2:])  # noqa: S606 - the point of this file
