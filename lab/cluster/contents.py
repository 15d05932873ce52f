"""What pods of a lab run from: the images, CoreDNS and the sandbox among them.

Called by `loomidi-lab build` and by `raising`. In: built binaries. Out: images in the cache and one prepared containerd
root that every node copies by hard links. The recipes are `loomidi_lab.images`.
"""
