"""Sources of the formulas and numbers; docstrings name them ``Author et al. YEAR``."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Reference:
    """One published source."""

    key: str
    """The source's name in docstrings: ``Hoffmann et al. 2022``."""
    authors: str
    title: str
    venue: str
    used_for: str
    arxiv: str | None = None

    @property
    def year(self) -> str:
        return self.key.rsplit(" ", 1)[1]

    def bibtex(self) -> str:
        """Returns the entry for a bibliography."""
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
        key="Hu et al. 2022",
        authors="Hu, Edward J. and Shen, Yelong and Wallis, Phillip and others",
        title="LoRA: Low-Rank Adaptation of Large Language Models",
        venue="International Conference on Learning Representations",
        arxiv="2106.09685",
        used_for="LoRA",
    ),
    Reference(
        key="Xiao et al. 2023",
        authors="Xiao, Guangxuan and Tian, Yuandong and Chen, Beidi and Han, Song and Lewis, Mike",
        title="Efficient Streaming Language Models with Attention Sinks",
        venue="International Conference on Learning Representations",
        arxiv="2309.17453",
        used_for="sink tokens of the memory",
    ),
    Reference(
        key="Chen et al. 2023",
        authors="Chen, Xiangning and Liang, Chen and Huang, Da and others",
        title="Symbolic Discovery of Optimization Algorithms",
        venue="Advances in Neural Information Processing Systems",
        arxiv="2302.06675",
        used_for="optimizer lion",
    ),
    Reference(
        key="Jordan et al. 2024",
        authors="Jordan, Keller and Jin, Yuchen and Boza, Vlado and others",
        title="Muon: An optimizer for hidden layers in neural networks",
        venue="the first author's pages",
        used_for="optimizer muon",
    ),
    Reference(
        key="Cochran 1977",
        authors="Cochran, William G.",
        title="Sampling Techniques, third edition",
        venue="John Wiley & Sons",
        used_for="intervals over documents (6.12)",
    ),
    Reference(
        key="Abramowitz & Stegun 1964",
        authors="Abramowitz, Milton and Stegun, Irene A.",
        title="Handbook of Mathematical Functions",
        venue="National Bureau of Standards",
        used_for="Student's t (26.7.3 to 26.7.5)",
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
        key="Vaswani et al. 2017",
        authors="Vaswani, Ashish and Shazeer, Noam and Parmar, Niki and others",
        title="Attention Is All You Need",
        venue="Advances in Neural Information Processing Systems",
        arxiv="1706.03762",
        used_for="full attention",
    ),
    Reference(
        key="Dai et al. 2019",
        authors="Dai, Zihang and Yang, Zhilin and Yang, Yiming and others",
        title="Transformer-XL: Attentive Language Models Beyond a Fixed-Length Context",
        venue="ACL",
        arxiv="1901.02860",
        used_for="method transformer-xl",
    ),
    Reference(
        key="Rae et al. 2020",
        authors="Rae, Jack W. and Potapenko, Anna and Jayakumar, Siddhant M. and others",
        title="Compressive Transformers for Long-Range Sequence Modelling",
        venue="International Conference on Learning Representations",
        arxiv="1911.05507",
        used_for="method compressive",
    ),
    Reference(
        key="Hutchins et al. 2022",
        authors="Hutchins, DeLesley and Schlag, Imanol and Wu, Yuhuai and others",
        title="Block-Recurrent Transformers",
        venue="Advances in Neural Information Processing Systems",
        arxiv="2203.07852",
        used_for="method block-recurrent",
    ),
    Reference(
        key="Wu et al. 2022",
        authors="Wu, Yuhuai and Rabe, Markus N. and Hutchins, DeLesley and Szegedy, Christian",
        title="Memorizing Transformers",
        venue="International Conference on Learning Representations",
        arxiv="2203.08913",
        used_for="method memorizing",
    ),
    Reference(
        key="Bertsch et al. 2023",
        authors="Bertsch, Amanda and Alon, Uri and Neubig, Graham and Gormley, Matthew R.",
        title="Unlimiformer: Long-Range Transformers with Unlimited Length Input",
        venue="Advances in Neural Information Processing Systems",
        arxiv="2305.01625",
        used_for="method unlimiformer",
    ),
    Reference(
        key="Jiang et al. 2023",
        authors="Jiang, Albert Q. and Sablayrolles, Alexandre and Mensch, Arthur and others",
        title="Mistral 7B",
        venue="arXiv",
        arxiv="2310.06825",
        used_for="method sliding-window",
    ),
    Reference(
        key="Beltagy et al. 2020",
        authors="Beltagy, Iz and Peters, Matthew E. and Cohan, Arman",
        title="Longformer: The Long-Document Transformer",
        venue="arXiv",
        arxiv="2004.05150",
        used_for="method longformer",
    ),
    Reference(
        key="Zaheer et al. 2020",
        authors="Zaheer, Manzil and Guruganesh, Guru and Dubey, Kumar Avinava and others",
        title="Big Bird: Transformers for Longer Sequences",
        venue="Advances in Neural Information Processing Systems",
        arxiv="2007.14062",
        used_for="method bigbird",
    ),
    Reference(
        key="Ainslie et al. 2020",
        authors="Ainslie, Joshua and Ontanon, Santiago and Alberti, Chris and others",
        title="ETC: Encoding Long and Structured Inputs in Transformers",
        venue="EMNLP",
        arxiv="2004.08483",
        used_for="method etc",
    ),
    Reference(
        key="Guo et al. 2022",
        authors="Guo, Mandy and Ainslie, Joshua and Uthus, David and others",
        title="LongT5: Efficient Text-To-Text Transformer for Long Sequences",
        venue="Findings of NAACL",
        arxiv="2112.07916",
        used_for="method longt5",
    ),
    Reference(
        key="Ainslie et al. 2023",
        authors="Ainslie, Joshua and Lei, Tao and de Jong, Michiel and others",
        title="CoLT5: Faster Long-Range Transformers with Conditional Computation",
        venue="EMNLP",
        arxiv="2303.09752",
        used_for="method colt5",
    ),
    Reference(
        key="Ding et al. 2023",
        authors="Ding, Jiayu and Ma, Shuming and Dong, Li and others",
        title="LongNet: Scaling Transformers to 1,000,000,000 Tokens",
        venue="arXiv",
        arxiv="2307.02486",
        used_for="method longnet",
    ),
    Reference(
        key="Gu et al. 2022",
        authors="Gu, Albert and Goel, Karan and Re, Christopher",
        title="Efficiently Modeling Long Sequences with Structured State Spaces",
        venue="International Conference on Learning Representations",
        arxiv="2111.00396",
        used_for="method s4",
    ),
    Reference(
        key="Poli et al. 2023",
        authors="Poli, Michael and Massaroli, Stefano and Nguyen, Eric and others",
        title="Hyena Hierarchy: Towards Larger Convolutional Language Models",
        venue="International Conference on Machine Learning",
        arxiv="2302.10866",
        used_for="method hyena",
    ),
    Reference(
        key="Peng et al. 2023",
        authors="Peng, Bo and Alcaide, Eric and Anthony, Quentin and others",
        title="RWKV: Reinventing RNNs for the Transformer Era",
        venue="Findings of EMNLP",
        arxiv="2305.13048",
        used_for="method rwkv",
    ),
    Reference(
        key="Sun et al. 2023",
        authors="Sun, Yutao and Dong, Li and Huang, Shaohan and others",
        title="Retentive Network: A Successor to Transformer for Large Language Models",
        venue="arXiv",
        arxiv="2307.08621",
        used_for="method retnet",
    ),
    Reference(
        key="Gu and Dao 2023",
        authors="Gu, Albert and Dao, Tri",
        title="Mamba: Linear-Time Sequence Modeling with Selective State Spaces",
        venue="arXiv",
        arxiv="2312.00752",
        used_for="method mamba",
    ),
    Reference(
        key="Dao and Gu 2024",
        authors="Dao, Tri and Gu, Albert",
        title="Transformers are SSMs: Generalized Models and Efficient Algorithms Through "
        "Structured State Space Duality",
        venue="International Conference on Machine Learning",
        arxiv="2405.21060",
        used_for="method mamba-2",
    ),
    Reference(
        key="De et al. 2024",
        authors="De, Soham and Smith, Samuel L. and Fernando, Anushan and others",
        title="Griffin: Mixing Gated Linear Recurrences with Local Attention for Efficient "
        "Language Models",
        venue="arXiv",
        arxiv="2402.19427",
        used_for="linear recurrences of RecurrentGemma",
    ),
    Reference(
        key="Yang et al. 2024",
        authors="Yang, Songlin and Kautz, Jan and Hatamizadeh, Ali",
        title="Gated Delta Networks: Improving Mamba2 with Delta Rule",
        venue="arXiv",
        arxiv="2412.06464",
        used_for="gated delta rule of Qwen3-Next",
    ),
    Reference(
        key="Dettmers et al. 2022",
        authors="Dettmers, Tim and Lewis, Mike and Belkada, Younes and Zettlemoyer, Luke",
        title="LLM.int8(): 8-bit Matrix Multiplication for Transformers at Scale",
        venue="Advances in Neural Information Processing Systems",
        arxiv="2208.07339",
        used_for="weights in int8",
    ),
    Reference(
        key="Dettmers et al. 2023",
        authors="Dettmers, Tim and Pagnoni, Artidoro and Holtzman, Ari and Zettlemoyer, Luke",
        title="QLoRA: Efficient Finetuning of Quantized LLMs",
        venue="Advances in Neural Information Processing Systems",
        arxiv="2305.14314",
        used_for="weights in nf4, double quantisation",
    ),
    Reference(
        key="Frantar et al. 2022",
        authors="Frantar, Elias and Ashkboos, Saleh and Hoefler, Torsten and Alistarh, Dan",
        title="GPTQ: Accurate Post-Training Quantization for Generative Pre-trained Transformers",
        venue="arXiv",
        arxiv="2210.17323",
        used_for="weights of GPTQ",
    ),
    Reference(
        key="Lin et al. 2024",
        authors="Lin, Ji and Tang, Jiaming and Tang, Haotian and Yang, Shang and others",
        title="AWQ: Activation-aware Weight Quantization for LLM Compression and Acceleration",
        venue="Machine Learning and Systems",
        arxiv="2306.00978",
        used_for="weights of AWQ, and in int4",
    ),
    Reference(
        key="Rouhani et al. 2023",
        authors="Rouhani, Bita Darvish and Zhao, Ritchie and More, Ankit and others",
        title="Microscaling Data Formats for Deep Learning",
        venue="arXiv",
        arxiv="2310.10537",
        used_for="weights in mxfp4",
    ),
    Reference(
        key="DeepSeek-AI 2024",
        authors="DeepSeek-AI",
        title="DeepSeek-V3 Technical Report",
        venue="arXiv",
        arxiv="2412.19437",
        used_for="weights in fp8 by blocks (section 3.3)",
    ),
    Reference(
        key="Rodkin et al. 2024",
        authors="Rodkin, Ivan and Kuratov, Yuri and Bulatov, Aydar and Burtsev, Mikhail",
        title="Associative Recurrent Memory Transformer",
        venue="arXiv",
        arxiv="2407.04841",
        used_for="method armt",
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
        key="Newcombe 1998",
        authors="Newcombe, Robert G.",
        title="Interval Estimation for the Difference Between Independent Proportions: Comparison "
        "of Eleven Methods",
        venue="Statistics in Medicine 17",
        used_for="intervals of differences of accuracies",
    ),
    Reference(
        key="Wilson 1927",
        authors="Wilson, Edwin B.",
        title="Probable Inference, the Law of Succession, and Statistical Inference",
        venue="Journal of the American Statistical Association 22",
        used_for="95 % intervals of accuracies",
    ),
    Reference(
        key="Shoeybi et al. 2019",
        authors="Shoeybi, Mohammad and Patwary, Mostofa and Puri, Raul and others",
        title="Megatron-LM: Training Multi-Billion Parameter Language Models Using Model "
        "Parallelism",
        venue="arXiv preprint",
        arxiv="1909.08053",
        used_for="tensor parallelism",
    ),
    Reference(
        key="Narayanan et al. 2021",
        authors="Narayanan, Deepak and Shoeybi, Mohammad and Casper, Jared and others",
        title="Efficient Large-Scale Language Model Training on GPU Clusters Using Megatron-LM",
        venue="International Conference for High Performance Computing (SC)",
        arxiv="2104.04473",
        used_for="pipelines with virtual stages",
    ),
    Reference(
        key="Thakur et al. 2005",
        authors="Thakur, Rajeev and Rabenseifner, Rolf and Gropp, William",
        title="Optimization of Collective Communication Operations in MPICH",
        venue="International Journal of High Performance Computing Applications 19(1)",
        used_for="bytes that collectives send around a ring",
    ),
    Reference(
        key="Liu et al. 2023",
        authors="Liu, Hao and Zaharia, Matei and Abbeel, Pieter",
        title="Ring Attention with Blockwise Transformers for Near-Infinite Context",
        venue="arXiv preprint",
        arxiv="2310.01889",
        used_for="context parallelism as a ring",
    ),
    Reference(
        key="Jacobs et al. 2023",
        authors="Jacobs, Sam Ade and Tanaka, Masahiro and Zhang, Chengming and others",
        title="DeepSpeed Ulysses: System Optimizations for Enabling Training of Extreme Long "
        "Sequence Transformer Models",
        venue="arXiv preprint",
        arxiv="2309.14509",
        used_for="context parallelism by exchange of heads",
    ),
    Reference(
        key="Shah et al. 2024",
        authors="Shah, Jay and Bikshandi, Ganesh and Zhang, Ying and others",
        title="FlashAttention-3: Fast and Accurate Attention with Asynchrony and Low-precision",
        venue="Advances in Neural Information Processing Systems",
        arxiv="2407.08608",
        used_for="speed of FlashAttention-2 on an H100",
    ),
    Reference(
        key="Sivtsov et al. 2025",
        authors="Sivtsov, Danil and Rodkin, Ivan and Kuzmin, Gleb and Kuratov, Yuri and "
        "Oseledets, Ivan",
        title="Diagonal Batching Unlocks Parallelism in Recurrent Memory Transformers for Long "
        "Contexts",
        venue="arXiv preprint",
        arxiv="2506.05229",
        used_for="the wavefront over layers and segments",
    ),
    Reference(
        key="Kuratov et al. 2024",
        authors="Kuratov, Yuri and Bulatov, Aydar and Anokhin, Petr and Rodkin, Ivan and "
        "Sorokin, Dmitry and Sorokin, Artyom and Burtsev, Mikhail",
        title="BABILong: Testing the Limits of LLMs with Long Context Reasoning-in-a-Haystack",
        venue="Advances in Neural Information Processing Systems",
        arxiv="2406.10149",
        used_for="task babilong",
    ),
    Reference(
        key="Ge et al. 2024",
        authors="Ge, Tao and Hu, Jing and Wang, Lei and Wang, Xun and Chen, Si-Qing and Wei, Furu",
        title="In-context Autoencoder for Context Compression in a Large Language Model",
        venue="International Conference on Learning Representations",
        arxiv="2307.06945",
        used_for="training on text that repeats, beside ordinary text",
    ),
)
