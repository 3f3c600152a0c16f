"""The protocol of run, as serve.hpp has it."""

import resource
import sys
import time


def serve(jobs):
    """`jobs`: an object whose methods are the jobs."""
    print("ready", flush=True)
    for word in sys.stdin:
        word = word.strip()
        if word == "peak":
            print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024, flush=True)
            continue
        begin, processor = time.perf_counter(), time.process_time()
        number = getattr(jobs, word)()
        print(time.perf_counter() - begin, time.process_time() - processor, number, flush=True)
