"""The system, display, format and status commands of a Keithley 2400; most only keep what they are told."""

from __future__ import annotations

from typing import TYPE_CHECKING

from drivers.emulators.scpi import Parameters

if TYPE_CHECKING:
    from drivers.emulators.smu_2400 import Keithley2400


def add_system(smu: Keithley2400) -> None:
    """Register them."""
    tree, status = smu.tree, smu.status
    for pattern in (":SYSTem:ERRor[:NEXT]", ":STATus:QUEue[:NEXT]"):
        tree.add(pattern, get=lambda p: error_text(*status.next_error()))
    tree.add(":SYSTem:ERRor:ALL", get=lambda p: ",".join(_take_errors(smu)))
    tree.add(":SYSTem:ERRor:CODE[:NEXT]", get=lambda p: str(status.next_error()[0]))
    tree.add(":SYSTem:ERRor:COUNt", get=lambda p: str(len(status.errors)))
    for pattern in (":SYSTem:CLEar", ":STATus:QUEue:CLEar"):
        tree.add(pattern, lambda p: status.errors.clear())
    tree.add(":SYSTem:VERSion", get=lambda p: "1996.0")
    tree.add(":SYSTem:PRESet", lambda p: smu.reset())
    tree.boolean(":SYSTem:RSENse", lambda: smu.now.remote_sense, smu.set_remote_sense)
    tree.add(":SYSTem:AZERo[:STATe]", smu.set_autozero, lambda p: str(int(smu.now.autozero)), (1, 1))
    smu.keep_boolean(":SYSTem:AZERo:CACHing[:STATe]", False)
    smu.keep_choice(":SYSTem:GUARd", "OHMS CABLe", "CABL")
    smu.keep_choice(":SYSTem:RCMode", "SINGle MULTiple", "SING")
    smu.keep_number(":SYSTem:LFRequency", 50, 60, 50)
    smu.keep_boolean(":SYSTem:LFRequency:AUTO", True)
    smu.keep_boolean(":SYSTem:BEEPer:STATe", True)
    tree.add(":SYSTem:BEEPer[:IMMediate]", _beep, None, (2, 2))
    tree.add(":SYSTem:TIME", get=lambda p: f"{smu.clock.now_s() - smu.acquisition.origin_s:.6E}")
    tree.add(":SYSTem:TIME:RESet", lambda p: smu.acquisition.reset_time())
    for pattern in (":SYSTem:LOCal", ":SYSTem:REMote", ":SYSTem:RWLock"):
        smu.ignore(pattern, 1)
    smu.keep_boolean(":DISPlay:ENABle", True)
    smu.keep_number(":DISPlay:DIGits", 4, 7, 6)
    smu.ignore(":DISPlay:CNDisplay")
    smu.ignore(":DISPlay[:WINDow]:TEXT[:DATA]", 1)
    smu.keep_boolean(":DISPlay[:WINDow]:TEXT:STATe", False)
    smu.keep_choice(":FORMat[:DATA]", "ASCii", "ASC")
    smu.keep_choice(":FORMat:BORDer", "NORMal SWAPped", "SWAP")
    smu.keep_choice(":FORMat:SREGister", "ASCii", "ASC")
    smu.add_registers("MEASurement", 0, lambda: 0)
    smu.add_registers("QUEStionable", 3, lambda: 0)
    smu.add_registers("OPERation", 7, smu.acquisition.operation)


def error_text(code: int, message: str) -> str:
    """An entry of the error queue as the 2400 writes it."""
    return f'{code:+d},"{message}"' if code else f'0,"{message}"'


def _take_errors(smu: Keithley2400) -> list[str]:
    taken = [error_text(*smu.status.next_error())]
    while smu.status.errors:
        taken.append(error_text(*smu.status.next_error()))
    return taken


def _beep(parameters: Parameters) -> None:
    parameters[0].number(65, 2e6, 65, "HZ")
    parameters[1].number(0.0, 7.9, 0.0, "S")
