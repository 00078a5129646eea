#!/usr/bin/env bash
''':'
# Stage 1 of RS-MoE: train Q-Former and language model on whole captions.
#
#     bash scripts/train_rs_moe_stage1.sh [RECIPE] [key=value | --key value ...]                        one process
#     deepspeed [--num_gpus 2] scripts/train_rs_moe_stage1.sh [RECIPE] [key=value | --key value ...]    all devices
#
# One file for both: the DeepSpeed launcher runs its script with Python, whatever its name. Bash sees these
# comments, hands the file to Python and reads no further (what follows is a here-document to it); Python
# sees a string up to the closing quotes and then the program.
exec "${PYTHON:-python}" -u "$0" "$@"
: <<'# end'
'''
from launch import run  # scripts/launch.py

run(stage=1, family="rs_moe")
# end
