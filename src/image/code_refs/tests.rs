use proptest::prelude::*;

use super::*;

/// (instruction, target, size, write, immediate)
type Row = (u64, u64, u8, bool, Option<i64>);

fn refs(arch: Arch, code: &[u8], base: u64) -> Vec<Row> {
    let row = |r: CodeRef| (r.at.0, r.target.0, r.size, r.write, r.immediate);
    data_refs(arch, code, LinkAddr(base)).into_iter().map(row).collect()
}

fn words(words: &[u32]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_le_bytes()).collect()
}

#[test]
fn amd64_operands_of_every_kind() {
    #[rustfmt::skip]
    let code = [
        0x48, 0x8b, 0x0d, 0x3e, 0xea, 0x8c, 0x00,                         // 456c9b  mov rcx,[rip+0x8cea3e]
        0x48, 0x89, 0x0d, 0x10, 0xea, 0x8c, 0x00,                         // 456ca2  mov [rip+0x8cea10],rcx
        0x48, 0x8d, 0x05, 0x50, 0xde, 0x8c, 0x00,                         // 456ca9  lea rax,[rip+0x8cde50]
        0xc7, 0x05, 0x32, 0x2a, 0x8d, 0x00, 0x10, 0x27, 0x00, 0x00,       // 456cb0  mov dword [rip+0x8d2a32],10000
        0xc6, 0x05, 0x2c, 0x2a, 0x8d, 0x00, 0x01,                         // 456cba  mov byte [rip+0x8d2a2c],1
        0x48, 0x39, 0x1d, 0x68, 0xde, 0x8c, 0x00,                         // 456cc1  cmp [rip+0x8cde68],rbx
        0x83, 0x3d, 0x24, 0x0e, 0x8f, 0x00, 0xff,                         // 456cc8  cmp dword [rip+0x8f0e24],-1
        0xf0, 0x48, 0x0f, 0xc1, 0x05, 0x00, 0x01, 0x00, 0x00,             // 456ccf  lock xadd [rip+0x100],rax
        0xf0, 0x0f, 0xb1, 0x0d, 0x00, 0x02, 0x00, 0x00,                   // 456cd8  lock cmpxchg [rip+0x200],ecx
        0x0f, 0x11, 0x05, 0x00, 0x03, 0x00, 0x00,                         // 456ce0  movups [rip+0x300],xmm0
        0x64, 0x48, 0x8b, 0x04, 0x25, 0xf8, 0xff, 0xff, 0xff,             // 456ce7  mov rax,fs:[-8]
        0x48, 0x8b, 0x04, 0x25, 0x00, 0x10, 0x60, 0x00,                   // 456cf0  mov rax,[0x601000]
        0x8b, 0x04, 0x25, 0x10, 0x00, 0x00, 0x00,                         // 456cf8  mov eax,[0x10]
        0x48, 0x8b, 0x44, 0x24, 0x08,                                     // 456cff  mov rax,[rsp+8]
        0x48, 0x8b, 0x04, 0xc5, 0x00, 0x10, 0x60, 0x00,                   // 456d04  mov rax,[rax*8+0x601000]
        0x0f, 0x1f, 0x05, 0x00, 0x01, 0x00, 0x00,                         // 456d0c  nop [rip+0x100]
        0xff, 0x15, 0x00, 0x04, 0x00, 0x00,                               // 456d13  call [rip+0x400]
        0xc3,                                                             // 456d19  ret
    ];
    assert_eq!(
        refs(Arch::Amd64, &code, 0x45_6c9b),
        [
            (0x45_6c9b, 0xd2_56e0, 8, false, None),
            (0x45_6ca2, 0xd2_56b9, 8, true, None),
            (0x45_6ca9, 0xd2_4b00, 0, false, None),
            (0x45_6cb0, 0xd2_96ec, 4, true, Some(10_000)),
            (0x45_6cba, 0xd2_96ed, 1, true, Some(1)),
            (0x45_6cc1, 0xd2_4b30, 8, false, None),
            (0x45_6cc8, 0xd4_7af3, 4, false, Some(-1)),
            (0x45_6ccf, 0x45_6dd8, 8, true, None),
            (0x45_6cd8, 0x45_6ee0, 4, true, None),
            (0x45_6ce0, 0x45_6fe7, 16, true, None),
            (0x45_6cf0, 0x60_1000, 8, false, None),
            (0x45_6d13, 0x45_7119, 8, false, None),
        ]
    );
}

#[test]
fn amd64_decoding_continues_after_invalid_bytes() {
    // (bad)  mov rax,[rip+0x10]  and half of another one
    let code = [0x06, 0x48, 0x8b, 0x05, 0x10, 0x00, 0x00, 0x00, 0x48, 0x8b, 0x05];
    assert_eq!(refs(Arch::Amd64, &code, 0x1000), [(0x1001, 0x1018, 8, false, None)]);
}

/// The end of `mcommoninit` of a program by Go 1.27, write barrier included.
#[rustfmt::skip]
const MCOMMONINIT_AMD64: &[u8] = &[
    0x48, 0x8b, 0x0d, 0xab, 0xd3, 0x8c, 0x00,       // 45781e  mov rcx,[runtime.allm]
    0x83, 0x3d, 0x24, 0x0e, 0x8f, 0x00, 0x00,       // 457825  cmp dword [runtime.writeBarrier],0
    0x74, 0x13,                                     // 45782c  je 457841
    0x48, 0x8b, 0x93, 0x60, 0x01, 0x00, 0x00,       // 45782e  mov rdx,[rbx+0x160]
    0xe8, 0xa6, 0xd4, 0x03, 0x00,                   // 457835  call runtime.gcWriteBarrier2
    0x49, 0x89, 0x0b,                               // 45783a  mov [r11],rcx
    0x49, 0x89, 0x53, 0x08,                         // 45783d  mov [r11+8],rdx
    0x48, 0x89, 0x8b, 0x60, 0x01, 0x00, 0x00,       // 457841  mov [rbx+0x160],rcx
];
const ALLM_AMD64: LinkAddr = LinkAddr(0xd2_4bd0);

#[test]
fn amd64_linked_store_is_the_one_of_the_loaded_word() {
    let store = |code: &[u8]| linked_store(Arch::Amd64, code, LinkAddr(0x45_781e), ALLM_AMD64, 256);
    assert_eq!(store(MCOMMONINIT_AMD64), Some(0x160));
    assert_eq!(linked_store(Arch::Amd64, MCOMMONINIT_AMD64, LinkAddr(0x45_781e), ALLM_AMD64, 0), Some(0));
    assert_eq!(linked_store(Arch::Amd64, MCOMMONINIT_AMD64, LinkAddr(0x45_781e), LinkAddr(0xd2_4bd8), 256), None);
    // The register is overwritten before the store: `xor ecx,ecx` instead of `je`.
    let mut lost = MCOMMONINIT_AMD64.to_vec();
    lost[14..16].copy_from_slice(&[0x31, 0xc9]);
    assert_eq!(store(&lost), None);
    // Half of the register is enough: `mov cl,5`.
    lost[14..16].copy_from_slice(&[0xb1, 0x05]);
    assert_eq!(store(&lost), None);
    // Copied to another register, which is stored: `mov rsi,rcx`, `mov [rbx+0x150],rsi`; and a spill
    // to the stack in between, `mov [rsp+0x158],rcx`.
    let mut copied = MCOMMONINIT_AMD64[..7].to_vec();
    copied.extend([0x48, 0x89, 0xce, 0x48, 0x89, 0x8c, 0x24, 0x58, 0x01, 0, 0, 0x48, 0x89, 0xb3, 0x50, 0x01, 0, 0]);
    assert_eq!(store(&copied), Some(0x150));
}

#[test]
fn arm64_addresses_made_of_two_instructions() {
    #[rustfmt::skip]
    let code = words(&[
        0x9000_0ae0, // 55c64  adrp x0,0x1b1000
        0x9117_8000, // 55c68  add x0,x0,#0x5e0
        0xb000_09bb, // 55c6c  adrp x27,0x18a000
        0x9134_437b, // 55c70  add x27,x27,#0xd10
        0xa940_0760, // 55c74  ldp x0,x1,[x27]
        0xb000_09bb, // 55c78  adrp x27,0x18a000
        0xf946_9362, // 55c7c  ldr x2,[x27,#0xd20]
        0xf906_9362, // 55c80  str x2,[x27,#0xd20]
        0x395c_0362, // 55c84  ldrb w2,[x27,#0x700]
        0xb900_0764, // 55c88  str w4,[x27,#4]
        0x3dc0_0360, // 55c8c  ldr q0,[x27]
        0xb000_09a2, // 55c90  adrp x2,0x18a000
        0x9128_4042, // 55c94  add x2,x2,#0xa10
        0xc89f_fc41, // 55c98  stlr x1,[x2]
        0x88df_fc43, // 55c9c  ldar w3,[x2]
        0xf8e1_0044, // 55ca0  ldaddal x1,x4,[x2]
        0xc8e5_fc44, // 55ca4  casal x5,x4,[x2]
        0xf940_0446, // 55ca8  ldr x6,[x2,#8]
        0xf940_0047, // 55cac  ldr x7,[x2]
        0x1000_0088, // 55cb0  adr x8,55cc0
    ]);
    assert_eq!(
        refs(Arch::Arm64, &code, 0x5_5c64),
        [
            (0x5_5c68, 0x1b_15e0, 0, false, None),
            (0x5_5c70, 0x18_ad10, 0, false, None),
            (0x5_5c74, 0x18_ad10, 8, false, None),
            (0x5_5c74, 0x18_ad18, 8, false, None),
            (0x5_5c7c, 0x18_ad20, 8, false, None),
            (0x5_5c80, 0x18_ad20, 8, true, None),
            (0x5_5c84, 0x18_a700, 1, false, None),
            (0x5_5c88, 0x18_a004, 4, true, None),
            (0x5_5c8c, 0x18_a000, 16, false, None),
            (0x5_5c94, 0x18_aa10, 0, false, None),
            (0x5_5c98, 0x18_aa10, 8, true, None),
            (0x5_5c9c, 0x18_aa10, 4, false, None),
            (0x5_5ca0, 0x18_aa10, 8, true, None),
            (0x5_5ca4, 0x18_aa10, 8, true, None),
            (0x5_5cac, 0x18_aa10, 8, false, None),
            (0x5_5cb0, 0x5_5cc0, 0, false, None),
        ]
    );
}

#[test]
fn arm64_registers_are_forgotten_when_they_change() {
    const ADRP: u32 = 0x9000_0001; // adrp x1,0x1000
    const LOAD: u32 = 0xf940_0422; // ldr x2,[x1,#8]
    let between = |word: u32| refs(Arch::Arm64, &words(&[ADRP, word, LOAD]), 0x1000).len();
    let forget = [
        (0x9400_0004, "bl"),
        (0xd63f_0040, "blr x2"),
        (0x1400_0004, "b"),
        (0xd65f_03c0, "ret"),
        (0xd280_0321, "mov x1,#25"),
        (0xaa02_03e1, "mov x1,x2"),
        (0xf940_03e1, "ldr x1,[sp]"),
        (0xa940_07e3, "ldp x3,x1,[sp]"),
        (0xf840_8443, "ldr x3,[x2],#8 (then x1 of `ldr x3,[x1],#8`)"),
        (0xf840_8423, "ldr x3,[x1],#8"),
        (0xf863_6841, "ldr x1,[x2,x3]"),
        (0xc85f_7c41, "ldxr x1,[x2]"),
        (0xc801_7c43, "stxr w1,x3,[x2]"),
        (0xd53b_d041, "mrs x1,tpidr_el0"),
        (0x5800_0041, "ldr x1,literal"),
        (0x9e66_0001, "fmov x1,d0"),
    ];
    for (word, what) in forget {
        // The one that changes another register shows that the test can fail.
        assert_eq!(between(word), usize::from(what.contains("then")), "{what}");
    }
    let keep = [
        (0xb400_0041, "cbz x1"),
        (0x5400_0b09, "b.ls"),
        (0x3600_0041, "tbz w1"),
        (0xd503_201f, "nop"),
        (0xf900_03e1, "str x1,[sp]"),
        (0xa901_07e3, "stp x3,x1,[sp,#16]"),
        (0xf823_6841, "str x1,[x2,x3]"),
        (0x3dc0_03e1, "ldr q1,[sp]"),
        (0xf980_0041, "prfm #1,[x2]"),
        (0xd28f_f022, "mov x2,#imm"),
    ];
    for (word, what) in keep {
        assert_eq!(between(word), 1, "{what}");
    }
}

#[test]
fn arm64_linked_store_is_the_one_of_the_loaded_word() {
    // The end of `mcommoninit` of a program by Go 1.21.
    let mut code = [
        0xb000_07bb, // 448c0  adrp x27,0x139000
        0xf943_4f62, // 448c4  ldr x2,[x27,#0x698]    runtime.allm
        0xb000_095b, // 448c8  adrp x27,0x16d000
        0xb947_8363, // 448cc  ldr w3,[x27,#0x780]
        0x3400_00a3, // 448d0  cbz w3,448e4
        0x9400_a557, // 448d4  bl runtime.gcWriteBarrier2
        0xf900_0322, // 448d8  str x2,[x25]
        0xf940_a823, // 448dc  ldr x3,[x1,#336]
        0xf900_0723, // 448e0  str x3,[x25,#8]
        0xf900_a822, // 448e4  str x2,[x1,#336]
    ];
    let store = |code: &[u32]| linked_store(Arch::Arm64, &words(code), LinkAddr(0x4_48c0), LinkAddr(0x13_9698), 256);
    assert_eq!(store(&code), Some(336));
    assert_eq!(linked_store(Arch::Arm64, &words(&code), LinkAddr(0x4_48c0), LinkAddr(0x13_9690), 256), None);
    // Copied to another register, which is stored.
    code[8] = 0xaa02_03e4; // mov x4,x2
    code[9] = 0xf900_ac24; // str x4,[x1,#344]
    assert_eq!(store(&code), Some(344));
    // Overwritten before the store; spilt to the stack.
    code[8] = 0xf940_03e4; // ldr x4,[sp]
    assert_eq!(store(&code), None);
    code[9] = 0xf900_afe2; // str x2,[sp,#344]
    assert_eq!(store(&code), None);
}

proptest! {
    #[test]
    fn any_bytes_are_decoded(code in prop::collection::vec(any::<u8>(), 0..512), base: u64, head: u64) {
        for arch in [Arch::Amd64, Arch::Arm64] {
            let refs = data_refs(arch, &code, LinkAddr(base));
            prop_assert!(refs.len() <= code.len());
            let end = base.wrapping_add(code.len() as u64);
            for found in refs {
                prop_assert!(found.at.0.wrapping_sub(base) < code.len() as u64, "{found:?} is not before {end:#x}");
            }
            let _ = linked_store(arch, &code, LinkAddr(base), LinkAddr(head), 256);
        }
    }

    #[test]
    fn changed_code_is_decoded(at in any::<prop::sample::Index>(), value: u8) {
        let mut code = MCOMMONINIT_AMD64.to_vec();
        let at = at.index(code.len());
        code[at] = value;
        if let Some(field) = linked_store(Arch::Amd64, &code, LinkAddr(0x45_781e), ALLM_AMD64, 256) {
            prop_assert!(field >= 256);
        }
    }
}
