//! Lengths that a message announces are not believed: nothing is allocated for what does not come.
#![allow(clippy::unwrap_used)]

use cap::Cap;
use keywheel_tests::hostile::TARGETS;
use std::alloc::System;

#[global_allocator]
static ALLOCATOR: Cap<System> = Cap::new(System, usize::MAX);

/// What reading a small message may take: sixteen thousand times its size.
const BYTES_MAX: usize = 4 * 1024 * 1024;

/// Alone in its process, so that nothing else allocates meanwhile. An allocation over the limit ends it.
#[test]
fn small_messages_stay_small() {
    let heads: [&[u8]; 4] = [b"\xdf", b"\xdd", b"\xdb", b"\xc6"];
    let lengths: [[u8; 4]; 3] = [[0xff; 4], [0x7f, 0xff, 0xff, 0xff], [0, 0xff, 0xff, 0xff]];
    let fields: [&[u8]; 5] =
        [b"", b"\x81\xa4body", b"\x82\xa4type", b"\x8c\xa2id", b"\x81\xa4body\x81\xa5edges"];
    // What an entrance keeps for all time is there before it is measured.
    for target in TARGETS {
        (target.hand_in)(b"x");
    }
    ALLOCATOR.set_limit(ALLOCATOR.allocated() + BYTES_MAX).unwrap();
    for target in TARGETS {
        for head in heads {
            for length in &lengths {
                for field in fields {
                    let message = [field, head, length, b"\xa1x"].concat();
                    (target.hand_in)(&message);
                    (target.hand_in)(&[&[0], &message[..]].concat());
                }
            }
        }
    }
}
