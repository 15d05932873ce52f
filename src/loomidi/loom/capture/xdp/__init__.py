"""The shield in the kernel, by libbpf and bpf(2).

Called by `loom.capture`. The only home of BPF system calls. `bpf` and `libbpf` speak to the kernel, `loading` makes
maps and a program, `attaching` puts it on an interface, `rings` reads events, `kernel` is the Shield.
"""
