use super::super::framing::RequestMemory;
use super::*;

async fn decompress(message: &[u8], encoding: Encoding, limit: usize) -> Result<Bytes, Failure> {
    let mut held = RequestMemory::new(usize::MAX).hold(None);
    super::decompress(message, encoding, limit, &mut held).await
}

async fn read_within(reader: impl Read, expected: usize, limit: usize) -> io::Result<Option<Vec<u8>>> {
    super::read_within(reader, expected, limit, |_| Ok(())).await
}

fn text(bytes: usize) -> Vec<u8> {
    b"mortise and tenon, "
        .iter()
        .copied()
        .cycle()
        .take(bytes)
        .collect()
}

async fn compressed(message: &[u8], encoding: Encoding) -> Vec<u8> {
    compress(message, encoding)
        .await
        .unwrap()
        .expect("it became smaller")
}

#[tokio::test]
async fn messages_survive_the_way_there_and_back() {
    for encoding in Encoding::ALL {
        for length in [200, CHUNK - 1, CHUNK, CHUNK + 1, 1 << 20] {
            let message = text(length);
            let sent = compressed(&message, encoding).await;
            assert!(sent.len() < message.len());
            let received = decompress(&sent, encoding, length).await.unwrap();
            assert_eq!(received, message, "{encoding:?} {length}");
        }
    }
}

#[tokio::test]
async fn a_bomb_stops_at_the_limit() {
    for encoding in Encoding::ALL {
        let bomb = compressed(&vec![0; 64 << 20], encoding).await;
        assert!(bomb.len() < 1 << 20);
        for limit in [0, 1, 1000, CHUNK, 1 << 20, (64 << 20) - 1] {
            assert_eq!(
                decompress(&bomb, encoding, limit).await,
                Err(Failure::RequestTooLarge { size: None, limit }),
                "{encoding:?}"
            );
        }
        assert_eq!(
            decompress(&bomb, encoding, 64 << 20).await.unwrap().len(),
            64 << 20
        );
    }
}

#[tokio::test]
async fn a_bomb_stops_where_there_is_no_room() {
    let bomb = compressed(&vec![0; 1 << 20], Encoding::Zstd).await;
    let mut held = RequestMemory::new(100_000).hold(None);
    let failure = super::decompress(&bomb, Encoding::Zstd, 1 << 20, &mut held).await;
    assert_eq!(failure, Err(Failure::RequestMemoryFull));
}

#[tokio::test]
async fn what_is_read_is_held_within_the_limit() {
    for limit in [1, 255, 5000, 3 * CHUNK + 1] {
        let read = read_within(io::repeat(7), 10 * limit, limit).await.unwrap();
        assert_eq!(read, None);
        let read = read_within(io::repeat(7).take(limit as u64), 1, limit)
            .await
            .unwrap();
        let read = read.expect("within the limit");
        assert_eq!(read.len(), limit);
        assert!(read.capacity() <= limit + 1, "{} for {limit}", read.capacity());
    }
}

#[tokio::test]
async fn what_is_damaged_is_refused() {
    for encoding in Encoding::ALL {
        let whole = compressed(&text(5000), encoding).await;
        let mut flipped = whole.clone();
        flipped[0] ^= 0xff;
        let longer = [&whole[..], b"and more"].concat();
        let mut broken = vec![b"not compressed at all".to_vec(), flipped, longer];
        broken.extend((1..whole.len()).map(|cut| whole[..cut].to_vec()));
        for broken in broken {
            let failure = decompress(&broken, encoding, 1 << 20).await;
            assert!(
                matches!(failure, Err(Failure::MalformedFraming { .. })),
                "{encoding:?} {} of {}: {failure:?}",
                broken.len(),
                whole.len()
            );
        }
        assert_eq!(decompress(b"", encoding, 10).await.unwrap(), Bytes::new());
    }
}

#[tokio::test]
async fn a_frame_that_asks_for_too_much_memory_is_refused() {
    let mut encoder = zstd::Encoder::new(Vec::new(), 1).unwrap();
    encoder.window_log(MAX_ZSTD_WINDOW_LOG + 1).unwrap();
    std::io::Write::write_all(&mut encoder, &text(1000)).unwrap();
    let greedy = encoder.finish().unwrap();
    assert!(matches!(
        decompress(&greedy, Encoding::Zstd, 10_000).await,
        Err(Failure::MalformedFraming { .. })
    ));
}

#[tokio::test]
async fn answers_are_compressed_where_it_is_worth_it() {
    let compression = Compression::new(Encoding::ALL.to_vec());
    for encoding in Encoding::ALL {
        let small = compression.compress(text(99), Some(encoding), 100).await;
        assert_eq!(small.encoding, None);
        let large = compression.compress(text(1000), Some(encoding), 100).await;
        assert_eq!(large.encoding, Some(encoding));
        let raised = compression.compress(text(1000), Some(encoding), 2000).await;
        assert_eq!((raised.encoding, raised.bytes), (None, text(1000)));
        let noise: Vec<u8> = (0..1000).map(|_| rand::random()).collect();
        let incompressible = compression.compress(noise.clone(), Some(encoding), 100).await;
        assert_eq!((incompressible.encoding, incompressible.bytes), (None, noise));
        // Also of nothing.
        let nothing = compression.compress(Vec::new(), Some(encoding), 0).await;
        assert_eq!(nothing.encoding, None);
    }
    assert_eq!(compression.compress(text(1000), None, 0).await.encoding, None);
}

#[test]
fn the_client_is_answered_in_what_it_accepts() {
    let compression = Compression::new(Encoding::ALL.to_vec());
    let chosen = |sent: &str, accepted: &str| {
        let mut headers = HeaderMap::new();
        headers.insert("grpc-encoding", HeaderValue::from_str(sent).unwrap());
        headers.insert("grpc-accept-encoding", HeaderValue::from_str(accepted).unwrap());
        compression.of_answer(&headers)
    };
    assert_eq!(
        chosen("identity", "identity, deflate, gzip"),
        Some(Encoding::Gzip)
    );
    assert_eq!(
        chosen("deflate", "identity,gzip,deflate,zstd"),
        Some(Encoding::Deflate)
    );
    assert_eq!(chosen("gzip", "zstd"), Some(Encoding::Zstd));
    assert_eq!(chosen("gzip", "identity"), None);
    assert_eq!(chosen("gzip", "br,,gzipped, snappy"), None);
    assert_eq!(compression.of_answer(&HeaderMap::new()), None);
    assert_eq!(compression.supported(), "identity,zstd,gzip,deflate");
}

#[test]
fn an_encoding_that_is_turned_off_is_refused_by_name() {
    let compression = Compression::new(vec![Encoding::Gzip]);
    let mut headers = HeaderMap::new();
    assert_eq!(compression.of_request(&headers), Ok(None));
    headers.insert("grpc-encoding", HeaderValue::from_static("gzip"));
    assert_eq!(compression.of_request(&headers), Ok(Some(Encoding::Gzip)));
    headers.insert("grpc-encoding", HeaderValue::from_static("zstd"));
    assert_eq!(
        compression.of_request(&headers),
        Err(Failure::UnsupportedEncoding {
            encoding: "zstd".into(),
            supported: "identity,gzip".into()
        })
    );
}
