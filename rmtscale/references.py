"""What the formulas and numbers come from; docstrings name them ``Author et al. YEAR``."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Reference:
    """One published source."""

    key: str
    """As docstrings write it: ``Hoffmann et al. 2022``."""
    authors: str
    title: str
    venue: str
    used_for: str
    arxiv: str | None = None

    @property
    def year(self) -> str:
        return self.key.rsplit(" ", 1)[1]

    def bibtex(self) -> str:
        """The entry for a bibliography."""
        name = self.key.replace(" et al.", "").replace(" ", "").lower()
        fields = {"author": self.authors, "title": "{" + self.title + "}", "year": self.year}
        fields["journal"] = self.venue
        if self.arxiv:
            fields |= {"eprint": self.arxiv, "archivePrefix": "arXiv"}
        lines = [f"  {field} = {{{value}}}," for field, value in fields.items()]
        return "\n".join([f"@article{{{name},", *lines, "}"])


REFERENCES = (
    Reference(
        key="Bulatov et al. 2024",
        authors="Bulatov, Aydar and Kuratov, Yuri and Kapushev, Yermek and Burtsev, Mikhail",
        title="Scaling Transformer to 1M tokens and beyond with RMT",
        venue="AAAI Conference on Artificial Intelligence",
        arxiv="2304.11062",
        used_for="the method, Figure 2, convention paper",
    ),
    Reference(
        key="Bulatov et al. 2022",
        authors="Bulatov, Aydar and Kuratov, Yury and Burtsev, Mikhail",
        title="Recurrent Memory Transformer",
        venue="Advances in Neural Information Processing Systems",
        arxiv="2207.06881",
        used_for="read and write memory tokens",
    ),
    Reference(
        key="Hoffmann et al. 2022",
        authors="Hoffmann, Jordan and Borgeaud, Sebastian and Mensch, Arthur and others",
        title="Training Compute-Optimal Large Language Models",
        venue="Advances in Neural Information Processing Systems",
        arxiv="2203.15556",
        used_for="convention hoffmann (Appendix F)",
    ),
    Reference(
        key="Kaplan et al. 2020",
        authors="Kaplan, Jared and McCandlish, Sam and Henighan, Tom and others",
        title="Scaling Laws for Neural Language Models",
        venue="arXiv",
        arxiv="2001.08361",
        used_for="convention kaplan (section 2.1)",
    ),
    Reference(
        key="Korthikanti et al. 2022",
        authors="Korthikanti, Vijay and Casper, Jared and Lym, Sangkug and others",
        title="Reducing Activation Recomputation in Large Transformer Models",
        venue="arXiv",
        arxiv="2205.05198",
        used_for="saved activations (section 4)",
    ),
    Reference(
        key="He et al. 2022",
        authors="He, Junxian and Zhou, Chunting and Ma, Xuezhe and others",
        title="Towards a Unified View of Parameter-Efficient Transfer Learning",
        venue="International Conference on Learning Representations",
        arxiv="2110.04366",
        used_for="parallel adapter",
    ),
    Reference(
        key="Wijmans et al. 2024",
        authors="Wijmans, Erik and Huval, Brody and Hertzberg, Alexander and others",
        title="Cut Your Losses in Large-Vocabulary Language Models",
        venue="arXiv",
        arxiv="2411.09009",
        used_for="head and cross-entropy in one (RMT loss)",
    ),
    Reference(
        key="Williams et al. 2009",
        authors="Williams, Samuel and Waterman, Andrew and Patterson, David",
        title="Roofline: An Insightful Visual Performance Model for Multicore Architectures",
        venue="Communications of the ACM 52(4)",
        used_for="predicted time",
    ),
    Reference(
        key="Zhang et al. 2022",
        authors="Zhang, Susan and Roller, Stephen and Goyal, Naman and others",
        title="OPT: Open Pre-trained Transformer Language Models",
        venue="arXiv",
        arxiv="2205.01068",
        used_for="OPT presets (Table 1)",
    ),
    Reference(
        key="Radford et al. 2019",
        authors="Radford, Alec and Wu, Jeffrey and Child, Rewon and others",
        title="Language Models are Unsupervised Multitask Learners",
        venue="OpenAI technical report",
        used_for="GPT-2 presets (Table 2)",
    ),
    Reference(
        key="Devlin et al. 2019",
        authors="Devlin, Jacob and Chang, Ming-Wei and Lee, Kenton and Toutanova, Kristina",
        title="BERT: Pre-training of Deep Bidirectional Transformers for Language Understanding",
        venue="NAACL-HLT",
        arxiv="1810.04805",
        used_for="BERT presets (section 3)",
    ),
    Reference(
        key="Black et al. 2021",
        authors="Black, Sid and Gao, Leo and Wang, Phil and Leahy, Connor and Biderman, Stella",
        title="GPT-Neo: Large Scale Autoregressive Language Modeling with Mesh-Tensorflow",
        venue="Software release, Zenodo",
        used_for="GPT-Neo presets",
    ),
    Reference(
        key="Biderman et al. 2023",
        authors="Biderman, Stella and Schoelkopf, Hailey and Anthony, Quentin and others",
        title="Pythia: A Suite for Analyzing Large Language Models Across Training and Scaling",
        venue="International Conference on Machine Learning",
        arxiv="2304.01373",
        used_for="Pythia presets (Table 1)",
    ),
    Reference(
        key="Touvron et al. 2023",
        authors="Touvron, Hugo and Martin, Louis and Stone, Kevin and others",
        title="Llama 2: Open Foundation and Fine-Tuned Chat Models",
        venue="arXiv",
        arxiv="2307.09288",
        used_for="Llama 2 presets (Table 1)",
    ),
    Reference(
        key="Grattafiori et al. 2024",
        authors="Grattafiori, Aaron and Dubey, Abhimanyu and Jauhri, Abhinav and others",
        title="The Llama 3 Herd of Models",
        venue="arXiv",
        arxiv="2407.21783",
        used_for="Llama 3 presets (Table 3)",
    ),
    Reference(
        key="Weston et al. 2015",
        authors="Weston, Jason and Bordes, Antoine and Chopra, Sumit and Mikolov, Tomas and others",
        title="Towards AI-Complete Question Answering: A Set of Prerequisite Toy Tasks",
        venue="arXiv",
        arxiv="1502.05698",
        used_for="memory tasks (bAbI tasks 1 and 4)",
    ),
    Reference(
        key="Wilson 1927",
        authors="Wilson, Edwin B.",
        title="Probable Inference, the Law of Succession, and Statistical Inference",
        venue="Journal of the American Statistical Association 22",
        used_for="95 % intervals of accuracies",
    ),
)
