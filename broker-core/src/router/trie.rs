//! Trie of Topic Filters with wildcards.
//!
//! Nodes are numbers, edges live in one hash table keyed by (parent, level), and every level text is
//! stored once. That costs some 50 bytes for a filter that shares its levels with others, where a map in
//! each node costs several hundred.

use std::collections::HashMap;
use std::sync::Arc;

use foldhash::fast::RandomState;

type NodeId = u32;
type LevelId = u32;

const ROOT: NodeId = 0;
const NONE: u32 = u32::MAX;

/// Levels that are no text of a topic.
const PLUS: LevelId = 0;
const HASH: LevelId = 1;

pub(super) struct Trie<V> {
    nodes: Vec<Node<V>>,
    free_nodes: Vec<NodeId>,
    edges: HashMap<(NodeId, LevelId), NodeId, RandomState>,
    levels: HashMap<Arc<str>, LevelId, RandomState>,
    /// Text and use count of each level; the two wildcards come first and are never freed.
    level_texts: Vec<(Arc<str>, u32)>,
    free_levels: Vec<LevelId>,
}

struct Node<V> {
    parent: NodeId,
    level: LevelId,
    /// Children of every kind.
    children: u32,
    /// The `+` child and the `#` child, the two that every match looks for.
    plus: NodeId,
    hash: NodeId,
    value: Option<Box<V>>,
}

impl<V> Node<V> {
    fn new(parent: NodeId, level: LevelId) -> Self {
        Self { parent, level, children: 0, plus: NONE, hash: NONE, value: None }
    }
}

impl<V> Default for Trie<V> {
    fn default() -> Self {
        Self {
            nodes: vec![Node::new(NONE, NONE)],
            free_nodes: Vec::new(),
            edges: HashMap::default(),
            levels: HashMap::default(),
            level_texts: vec![("+".into(), 1), ("#".into(), 1)],
            free_levels: Vec::new(),
        }
    }
}

impl<V: Default> Trie<V> {
    /// The value of a filter, made empty if it is not there yet.
    pub(super) fn entry(&mut self, filter: &str) -> &mut V {
        let mut node = ROOT;
        for level in filter.split('/') {
            node = match self.child(node, level) {
                Some(child) => child,
                None => self.add_child(node, level),
            };
        }
        self.nodes[node as usize].value.get_or_insert_default()
    }
}

impl<V> Trie<V> {
    pub(super) fn find_mut(&mut self, filter: &str) -> Option<&mut V> {
        let node = self.find(filter)?;
        self.nodes[node as usize].value.as_deref_mut()
    }

    pub(super) fn get(&self, filter: &str) -> Option<&V> {
        self.nodes[self.find(filter)? as usize].value.as_deref()
    }

    fn find(&self, filter: &str) -> Option<NodeId> {
        filter.split('/').try_fold(ROOT, |node, level| self.child(node, level))
    }

    /// Removes a filter and the nodes that only it needed.
    pub(super) fn remove(&mut self, filter: &str) -> Option<V> {
        let mut node = self.find(filter)?;
        let value = self.nodes[node as usize].value.take();
        while node != ROOT {
            let Node { parent, level, children, value: kept, .. } = &self.nodes[node as usize];
            if *children > 0 || kept.is_some() {
                break;
            }
            let (parent, level) = (*parent, *level);
            self.remove_child(parent, level, node);
            node = parent;
        }
        value.map(|value| *value)
    }

    /// Calls `visit` with the value of every filter that matches `topic`.
    ///
    /// The walk keeps the set of nodes the levels so far lead to. Its cost is bounded by the nodes of the
    /// trie, whatever the topic: where no filter goes on, neither does the walk.
    pub(super) fn matches<'a>(&'a self, topic: &str, visit: &mut impl FnMut(&'a V)) {
        if self.nodes[ROOT as usize].children == 0 {
            return;
        }
        let mut here: Vec<NodeId> = vec![ROOT];
        let mut next: Vec<NodeId> = Vec::new();
        for level in topic.split('/') {
            let id = self.levels.get(level).copied();
            for node in here.drain(..) {
                let Node { plus, hash, .. } = self.nodes[node as usize];
                // `a/#` matches `a` and everything below it.
                self.visit(hash, visit);
                if plus != NONE {
                    next.push(plus);
                }
                if let Some(child) = id.and_then(|id| self.edges.get(&(node, id))) {
                    next.push(*child);
                }
            }
            std::mem::swap(&mut here, &mut next);
            if here.is_empty() {
                return;
            }
        }
        for node in here {
            self.visit(node, visit);
            self.visit(self.nodes[node as usize].hash, visit);
        }
    }

    /// True if any filter matches `topic`.
    pub(super) fn has_match(&self, topic: &str) -> bool {
        let mut found = false;
        self.matches(topic, &mut |_| found = true);
        found
    }

    fn visit<'a>(&'a self, node: NodeId, visit: &mut impl FnMut(&'a V)) {
        if node != NONE
            && let Some(value) = &self.nodes[node as usize].value
        {
            visit(value);
        }
    }

    fn child(&self, node: NodeId, level: &str) -> Option<NodeId> {
        let node_ref = &self.nodes[node as usize];
        let found = match level {
            "+" => node_ref.plus,
            "#" => node_ref.hash,
            text => *self.edges.get(&(node, *self.levels.get(text)?))?,
        };
        (found != NONE).then_some(found)
    }

    fn add_child(&mut self, parent: NodeId, level: &str) -> NodeId {
        let level_id = match level {
            "+" => PLUS,
            "#" => HASH,
            text => self.intern(text),
        };
        let node = Node::new(parent, level_id);
        let id = match self.free_nodes.pop() {
            Some(id) => {
                self.nodes[id as usize] = node;
                id
            }
            None => {
                self.nodes.push(node);
                (self.nodes.len() - 1) as NodeId
            }
        };
        let parent_node = &mut self.nodes[parent as usize];
        parent_node.children += 1;
        match level_id {
            PLUS => parent_node.plus = id,
            HASH => parent_node.hash = id,
            text => drop(self.edges.insert((parent, text), id)),
        }
        id
    }

    fn remove_child(&mut self, parent: NodeId, level: LevelId, child: NodeId) {
        let parent_node = &mut self.nodes[parent as usize];
        parent_node.children -= 1;
        match level {
            PLUS => parent_node.plus = NONE,
            HASH => parent_node.hash = NONE,
            text => {
                self.edges.remove(&(parent, text));
                self.release(text);
            }
        }
        self.free_nodes.push(child);
    }

    fn intern(&mut self, text: &str) -> LevelId {
        if let Some(id) = self.levels.get(text) {
            self.level_texts[*id as usize].1 += 1;
            return *id;
        }
        let text: Arc<str> = text.into();
        let id = match self.free_levels.pop() {
            Some(id) => {
                self.level_texts[id as usize] = (Arc::clone(&text), 1);
                id
            }
            None => {
                self.level_texts.push((Arc::clone(&text), 1));
                (self.level_texts.len() - 1) as LevelId
            }
        };
        self.levels.insert(text, id);
        id
    }

    fn release(&mut self, level: LevelId) {
        let (text, uses) = &mut self.level_texts[level as usize];
        *uses -= 1;
        if *uses == 0 {
            self.levels.remove(&**text);
            *text = "".into();
            self.free_levels.push(level);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use broker_codec::topic;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    fn found(trie: &Trie<String>, name: &str) -> BTreeSet<String> {
        let mut found = BTreeSet::new();
        trie.matches(name, &mut |value| assert!(found.insert(value.clone()), "{value} twice"));
        found
    }

    proptest! {
        #[test]
        fn agrees_with_the_plain_matcher(
            filters in prop::collection::btree_set("([ab+]|c{2})(/([ab+]|)){0,3}(/#)?", 1..30),
            removed in prop::collection::vec(any::<prop::sample::Index>(), 0..20),
            names in prop::collection::vec("([ab]|c{2})(/([ab]|)){0,4}", 1..20),
        ) {
            let mut trie = Trie::default();
            for filter in &filters {
                *trie.entry(filter) = filter.clone();
            }
            let mut left = filters.clone();
            for index in removed {
                let filter = index.get(&filters.iter().cloned().collect::<Vec<_>>()).clone();
                prop_assert_eq!(trie.remove(&filter).is_some(), left.remove(&filter));
            }
            for name in &names {
                let expected: BTreeSet<_> =
                    left.iter().filter(|filter| topic::matches(filter, name)).cloned().collect();
                prop_assert_eq!(found(&trie, name), expected, "{}", name);
            }
            for filter in &filters {
                prop_assert_eq!(trie.get(filter), left.contains(filter).then_some(filter));
            }
            for filter in &left {
                trie.remove(filter);
            }
            prop_assert_eq!(trie.edges.len() + trie.levels.len(), 0, "nothing is left behind");
            prop_assert_eq!(trie.free_nodes.len() + 1, trie.nodes.len());
        }
    }

    #[test]
    fn a_topic_of_sixty_thousand_slashes_ends_where_the_filters_end() {
        let mut trie = Trie::default();
        *trie.entry("+/+/#") = "deep".to_owned();
        assert_eq!(found(&trie, &"/".repeat(60_000)).len(), 1);
    }
}
