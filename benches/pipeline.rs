//! What one step of the pipeline costs: an exchange with every peer and a tick, at 3, 16 and 64 peers.

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use llts::pipeline::Exercise;

fn pipeline(c: &mut Criterion) {
    let mut group = c.benchmark_group("pipeline");
    for peers in [3u16, 16, 64] {
        let mut exercise = Exercise::new(peers);
        group.throughput(Throughput::Elements(u64::from(peers)));
        group.bench_function(BenchmarkId::new("step", peers), |b| b.iter(|| exercise.step()));
        group.bench_function(BenchmarkId::new("tick", peers), |b| b.iter(|| exercise.tick()));
    }
    group.finish();
}

criterion_group!(benches, pipeline);
criterion_main!(benches);
