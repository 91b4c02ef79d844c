//! The goldens load and are whole.

use super::*;
use crate::nmse;

#[test]
fn every_family_has_a_checkpoint_and_its_prompts() {
    let families = families();
    let names: Vec<&str> = families.iter().map(|golden| golden.name.as_str()).collect();
    let expected = [
        "llama",
        "llama3_rope",
        "llama_bias",
        "llama_longrope",
        "mistral",
        "qwen2",
        "qwen3",
        "qwen3_5",
        "qwen3_5_moe",
        "qwen3_5_untied",
        "qwen3_yarn",
    ];
    assert_eq!(names, expected);
    for golden in &families {
        assert!(golden.dir.join("config.json").is_file(), "{}", golden.name);
        let lengths: Vec<usize> = golden
            .prompts
            .iter()
            .map(|prompt| prompt.ids.len())
            .collect();
        assert_eq!(lengths, PROMPT_TOKENS, "{}", golden.name);
    }
}

#[test]
fn shapes_agree() {
    for golden in families() {
        let name = &golden.name;
        for prompt in &golden.prompts {
            let rows = prompt.ids.len() - prompt.first_row;
            assert_eq!(prompt.logits.len(), rows * golden.vocab, "{name}");
            assert_eq!(
                rows,
                prompt
                    .ids
                    .len()
                    .min(if prompt.first_row > 0 { 32 } else { 300 })
            );
            assert!(
                prompt.ids.iter().all(|&id| (id as usize) < golden.vocab),
                "{name}"
            );
            assert!(prompt.logits.iter().all(|x| x.is_finite()), "{name}");
        }
        assert_eq!(
            (golden.greedy.ids.len(), golden.greedy.gaps.len()),
            (64, 64),
            "{name}"
        );
        assert_eq!(golden.greedy.prompt, golden.prompts[1].ids, "{name}");
    }
}

#[test]
fn logits_and_greedy_ids_are_of_one_model() {
    for golden in families() {
        let last_row = golden.prompts[1]
            .logits
            .rchunks(golden.vocab)
            .next()
            .expect("seven rows");
        let mut order: Vec<usize> = (0..golden.vocab).collect();
        order.sort_by(|&a, &b| last_row[b].total_cmp(&last_row[a]));
        assert_eq!(order[0], golden.greedy.ids[0] as usize, "{}", golden.name);
        let gap = last_row[order[0]] - last_row[order[1]];
        assert!(
            (gap - golden.greedy.gaps[0]).abs() < 1e-3,
            "{}",
            golden.name
        );
    }
}

#[test]
fn families_differ() {
    let families = families();
    for pair in families.windows(2) {
        let [one, two] = [&pair[0].prompts[2].logits, &pair[1].prompts[2].logits];
        assert!(nmse(one, two) > 0.1, "{} {}", pair[0].name, pair[1].name);
    }
}

#[test]
fn conversations_with_the_bundled_model_are_whole() {
    let chats = lattice_tiny();
    assert_eq!(chats.len(), 20);
    for (i, chat) in chats.iter().enumerate() {
        let steps = chat.greedy.ids.len();
        assert!(
            (1..=64).contains(&steps) && steps == chat.greedy.gaps.len(),
            "{chat:?}"
        );
        assert!(
            !chat.greedy.prompt.is_empty() && !chat.text.is_empty(),
            "{chat:?}"
        );
        assert!(
            chat.rendered.contains("<|im_start|>assistant\n"),
            "{chat:?}"
        );
        assert_eq!(chat.last_logits.is_some(), i < 4);
        if let Some(row) = &chat.last_logits {
            let best = row.iter().copied().fold(f32::MIN, f32::max);
            assert_eq!(row[chat.greedy.ids[0] as usize], best, "{chat:?}");
        }
    }
}

#[test]
fn paths_may_part_only_where_the_choice_was_close() {
    let greedy = Greedy {
        prompt: vec![1],
        ids: vec![5, 6, 7],
        gaps: vec![1.0, 1e-5, 1.0],
    };
    assert_eq!(greedy.first_difference(&[5, 6, 7]), None);
    assert_eq!(
        greedy.first_difference(&[5, 9, 9]),
        None,
        "a close choice went the other way"
    );
    assert_eq!(greedy.first_difference(&[9, 6, 7]), Some(0));
    assert_eq!(greedy.first_difference(&[5, 6, 8]), Some(2));
    assert_eq!(
        greedy.first_difference(&[5, 6]),
        Some(2),
        "it ended too early"
    );
    assert_eq!(
        greedy.first_difference(&[5, 6, 7, 8]),
        Some(3),
        "it went on after the end"
    );
}
