"""What PTX has and this compiler does not: kernels that use it are refused, by name.

All else that is unknown is taken for a mistake, and refuses the module, as ptxas does.
"""

from __future__ import annotations

_OPCODES = """
    tex tld4 txq suld sust sured suq istypep wgmma tcgen05 clusterlaunchcontrol multimem
    tensormap alloca stacksave stackrestore st_bulk vadd vsub vabsdiff vmin vmax vshl
    vshr vmad vset vadd2 vsub2 vavrg2 vabsdiff2 vmin2 vmax2 vset2 vadd4 vsub4 vavrg4 vabsdiff4
    vmin4 vmax4 vset4 stmatrix movmatrix
"""

# Of opcodes that are known in other forms.
_MODIFIERS = """
    bulk tensor reduce multicast__cluster mbarrier__complete_tx__bytes 1d 2d 3d 4d 5d im2col
    sp sp__ordered_metadata block_scale scale_vec__1X scale_vec__2X scale_vec__4X kind__mxf4
    kind__mxf8f6f4 kind__mxf4nvf4 kind__f8f6f4 e4m3 e5m2 e2m3 e3m2 e2m1 e4m3x2 e5m2x2 e2m3x2 e3m2x2
    e2m1x2 ue8m0x2 m8n8k4 m8n8k16 m8n8k32 m8n8k128 m16n8k64 m16n8k128 m16n8k256 m16n16 m8n16 b4 u4
    s4 b1 xor and popc b8x16 b4x16_p64 b6x16_p32 satfinite row col rs relu noftz async
    mbarrier global__shared__cta shared__cluster__mbarrier read write
"""

OPCODES = frozenset(_OPCODES.split())
MODIFIERS = frozenset(_MODIFIERS.split())
