#!/bin/sh
# Keeps fake GPUs in a node's status: a kubelet that starts sets to 0 what no device plugin reports.
# Runs in kind's node, so that it ends with it. Arguments: the node's name, the number of GPUs.
exec 9>"${KEEPER_LOCK:-/run/keep-gpus.lock}"
flock --nonblock 9 || exit 0  # one is enough
have='{.status.capacity.nvidia\.com/gpu} {.status.allocatable.nvidia\.com/gpu}{"\n"}'
want="{\"status\":{\"capacity\":{\"nvidia.com/gpu\":\"$2\"},\"allocatable\":{\"nvidia.com/gpu\":\"$2\"}}}"
while :; do
  kubectl get node "$1" --watch -o jsonpath="$have" | while read -r counts; do
    [ "$counts" = "$2 $2" ] || kubectl patch node "$1" --subresource=status --type=merge -p "$want"
  done
  sleep 1
done
