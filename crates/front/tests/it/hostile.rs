//! Bytes that are no HTTP: never a panic, never a connection that stays.

use std::time::Duration;

use proptest::prelude::*;
use tokio::io::AsyncWriteExt;

use crate::world::{World, development};

fn piece() -> impl Strategy<Value = Vec<u8>> {
    let fragments: Vec<&'static [u8]> = vec![
        b"GET /echo HTTP/1.1\r\n",
        b"POST /echo HTTP/1.1\r\n",
        b"POST /wait HTTP/1.0\r\n",
        b"OPTIONS * HTTP/1.1\r\n",
        b"CONNECT a:1 HTTP/1.1\r\n",
        b"GET http://evil.example/echo HTTP/1.1\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"GET /%ff%00/../echo?%zz HTTP/1.1\r\n",
        b"Host: localhost\r\n",
        b"Host: \xff\xfe\r\n",
        b"Content-Length: 5\r\n",
        b"Content-Length: -1\r\n",
        b"Content-Length: 99999999999999999999\r\n",
        b"Content-Length: 18446744073709551615\r\n",
        b"Transfer-Encoding: chunked\r\n",
        b"Transfer-Encoding: gzip\r\n",
        b"Expect: 100-continue\r\n",
        b"Connection: close\r\n",
        b"Connection: upgrade\r\nUpgrade: websocket\r\n",
        b"Authorization: AWS4-HMAC-SHA256 Credential=a/b/c/d/e, SignedHeaders=, Signature=\r\n",
        b"Authorization: Basic eDp5\r\n",
        b"X-Amz-Content-Sha256: STREAMING-AWS4-HMAC-SHA256-PAYLOAD\r\n",
        b"X-Amz-Date: 99999999T999999Z\r\n",
        b"\r\n",
        b"\n",
        b"5\r\nhello\r\n",
        b"0\r\n\r\n",
        b"ffffffffffffffff\r\n",
        b"hello",
        b"\0",
    ];
    prop_oneof![
        4 => prop::sample::select(fragments).prop_map(<[u8]>::to_vec),
        1 => prop::collection::vec(any::<u8>(), 0..40),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn malformed_requests_end(
        pieces in prop::collection::vec(piece(), 0..20),
        half_close in any::<bool>(),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .unwrap();
        runtime.block_on(async {
            let world = World::new(development());
            let mut client = world.connect();
            // Whatever waits may go on at once.
            for _ in 0..20 {
                world.fake.gate.notify_one();
            }
            for piece in &pieces {
                if client.stream.write_all(piece).await.is_err() {
                    break;
                }
            }
            if half_close {
                let _ = client.stream.shutdown().await;
            }
            let limit = Duration::from_secs(3_600);
            let closed = world.rt.within(limit, async {
                loop {
                    world.fake.gate.notify_one();
                    tokio::select! {
                        _ = client.closed() => return,
                        () = world.rt.sleep(Duration::from_secs(1)) => {}
                    }
                }
            });
            assert!(closed.await.is_some(), "the connection stayed open");
            world.rt.sleep(Duration::from_secs(1)).await;
            assert_eq!(world.front.requests_in_flight(), 0);
        });
    }
}
