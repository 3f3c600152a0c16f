"""The protocol of run, as serve.hpp has it."""

import resource
import sys
import time


def serve(jobs):
    """`jobs`: an object whose methods are the jobs; one that times itself returns seconds and processor seconds, too."""
    print("ready", flush=True)
    for word in sys.stdin:
        word = word.strip()
        if word == "peak":
            print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024, flush=True)
            continue
        begin, processor = time.perf_counter(), time.process_time()
        answer = getattr(jobs, word)()
        if not isinstance(answer, tuple):
            answer = answer, time.perf_counter() - begin, time.process_time() - processor
        number, seconds, busy = answer
        print(seconds, busy, number, flush=True)
