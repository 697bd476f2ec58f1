"""The catalogue of faults: what bad input and failing machines must get, each line with the tests that hold it.

A number is a line of the catalogue. `TESTS` names the tests, relative to this folder; a line without any belongs in
`PENDING`, with what is missing, and leaves it as soon as something tests it. A line is not held by slow tests alone:
the ordinary suite must see it.
"""

import ast
from functools import cache
from pathlib import Path

import pytest

TESTS_FOLDER = Path(__file__).parent

TESTS: dict[int, tuple[str, list[str]]] = {
    # generators and stationary distributions
    1: (
        "not square, 0×0, wrong rank; 1×1 is fine",
        [
            "theory/test_generator.py::test_what_is_refused_and_how",
            "theory/test_stationary.py::test_what_is_no_generator_is_refused",
            "theory/test_stationary.py::test_the_two_state_chain_by_hand",
            "theory/test_group_inverse.py::test_one_state",
        ],
    ),
    2: (
        "NaN or inf in A, and in A(y)",
        [
            "theory/test_generator.py::test_what_is_refused_and_how",
            "theory/test_fast_slow.py::test_nan_in_a_of_y_is_named_with_its_y",
            "theory/test_gth_derivative.py::test_bad_values_are_refused_under_every_transform",
        ],
    ),
    3: (
        "a negative rate is named, never clipped",
        [
            "theory/test_generator.py::test_what_is_refused_and_how",
            "theory/test_fast_slow.py::test_a_bad_generator_is_named_with_its_y",
        ],
    ),
    4: (
        "column sums, within a tolerance that scales with the data",
        [
            "theory/test_generator.py::test_the_tolerance_scales_with_the_data_and_the_dtype",
            "theory/test_generator.py::test_columns_sum_to_zero_and_every_valid_generator_is_accepted",
            "theory/test_sparse_stationary.py::test_tolerance_scales_with_the_entries_of_a_column_only",
        ],
    ),
    5: (
        "transposed: said so, with the function that converts",
        [
            "theory/test_generator.py::test_what_is_refused_and_how",
            "theory/test_generator.py::test_row_convention_is_transposed_and_checked",
            "theory/test_generator.py::test_only_the_bad_element_decides_whether_it_looks_transposed",
            "verify/test_manifold_gap.py::test_mutant_a_transposed_generator_is_refused_with_the_hint",
        ],
    ),
    6: (
        "integers, float32, complex",
        [
            "theory/test_stationary.py::test_kinds_and_dtypes",
            "theory/test_stationary.py::test_float32_is_checked_at_its_own_precision",
            "theory/test_generator.py::test_what_is_refused_and_how",
            "theory/test_generator.py::test_integers_read_only_and_foreign_byte_orders_are_read",
        ],
    ),
    7: (
        "several recurrent classes are listed; transient states get exact zeros",
        [
            "theory/test_stationary.py::test_not_unique_exactly_where_reachability_says_so",
            "theory/test_gth.py::test_every_elimination_order_with_transient_states",
            "theory/test_sparse_stationary.py::test_several_recurrent_classes",
            "theory/test_sparse_stationary.py::test_transient_states_get_exact_zeros",
            "theory/test_symbolic.py::test_two_recurrent_classes_are_listed",
        ],
    ),
    8: ("the all-zero generator", ["theory/test_stationary.py::test_the_bad_element_of_a_batch_is_named"]),
    9: (
        "rates over 1e±150",
        [
            "theory/test_stationary.py::test_cyclic_chain_and_rates_at_the_end_of_the_range",
            "theory/test_stationary.py::test_a_rate_lost_beside_its_exit_rate_is_not_lost_in_p",
            "theory/test_gth.py::test_rates_over_six_hundred_powers_of_e",
            "theory/test_symbolic.py::test_rates_1e150_apart_are_exact",
            "theory/test_sparse_stationary.py::test_rates_beyond_the_range_of_float64_are_carried_by_exponents",
        ],
    ),
    10: (
        "a purely cyclic chain",
        [
            "theory/test_stationary.py::test_cyclic_chain_and_rates_at_the_end_of_the_range",
            "theory/test_sparse_stationary.py::test_absorbing_state_single_state_and_long_cycle",
        ],
    ),
    11: (
        "the caller's array is never changed",
        [
            "theory/test_stationary.py::test_every_layout_of_memory_is_read_and_none_is_written",
            "theory/test_stationary.py::test_repeated_solves_leave_the_input_alone",
            "theory/test_sparse_stationary.py::test_duplicates_and_explicit_zeros_and_the_callers_matrix",
            "theory/test_flow_faults.py::test_inputs_and_global_state_are_left_alone",
        ],
    ),
    12: (
        "A(y) that changes n, dtype or device with y",
        [
            "theory/test_fast_slow.py::test_a_generator_that_changes_its_kind_is_named_with_y",
            "theory/test_flow_faults.py::test_a_generator_that_changes_its_size_on_the_way",
        ],
    ),
    13: (
        "the bad element of a batch",
        [
            "theory/test_generator.py::test_the_bad_element_of_a_batch_is_named",
            "theory/test_stationary.py::test_the_bad_element_of_a_batch_is_named",
            "theory/test_stationary.py::test_the_device_path_hands_hard_matrices_to_the_cpu",
        ],
    ),
    # integration and expansions
    14: (
        "eps <= 0, NaN or inf",
        [
            "theory/test_flow_faults.py::test_eps_that_is_not_positive",
            "theory/test_flow_faults.py::test_eps_out_of_range_never_starts",
            "theory/test_slow_manifold.py::test_bad_eps",
            "theory/test_reduced_flow.py::test_bad_input",
        ],
    ),
    15: (
        "x0 off the simplex, y0 not finite",
        [
            "theory/test_flow_faults.py::test_start_off_the_simplex",
            "theory/test_flow_faults.py::test_start_is_never_renormalised",
            "theory/test_flow_faults.py::test_start_outside_the_domain",
            "theory/test_token_clock.py::test_bad_input_is_refused_by_name",
            "theory/test_master_equation.py::test_bad_states_and_times_are_refused",
        ],
    ),
    16: (
        "a right-hand side that turns NaN",
        [
            "theory/test_flow_faults.py::test_nan_in_the_middle_is_reported_with_its_time",
            "theory/test_reduced_flow.py::test_a_flow_that_is_not_finite_is_reported",
            "theory/test_token_clock.py::test_a_slow_map_that_turns_nan_is_reported_with_block_and_y",
        ],
    ),
    17: (
        "an explicit method at a stiff eps",
        ["theory/test_flow_faults.py::test_explicit_method_is_refused_when_stiff"],
    ),
    18: (
        "time span empty, reversed or left",
        [
            "theory/test_flow_faults.py::test_time_span",
            "theory/test_reduced_flow.py::test_bad_input",
            "theory/test_master_equation.py::test_bad_states_and_times_are_refused",
        ],
    ),
    19: (
        "step and time limits",
        [
            "theory/test_flow_faults.py::test_step_limit_keeps_the_partial_trajectory",
            "theory/test_flow_faults.py::test_time_limit",
        ],
    ),
    20: (
        "mass that drifts, probabilities below zero",
        ["theory/test_flow_faults.py::test_drift_off_the_simplex_is_a_status"],
    ),
    21: (
        "g of the wrong shape",
        [
            "theory/test_fast_slow.py::test_a_slow_map_of_the_wrong_shape_is_named",
            "theory/test_flow_faults.py::test_a_system_of_the_wrong_shape_is_named",
        ],
    ),
    22: (
        "y that leaves its box",
        [
            "theory/test_flow_faults.py::test_leaving_the_domain_is_a_status_not_an_exception",
            "theory/test_token_clock.py::test_leaving_the_box_is_a_status_with_its_block",
            "theory/test_reduced_flow.py::test_leaving_the_box_is_a_status",
            "theory/test_leaving_the_box.py::test_simulate",
            "theory/test_leaving_the_box.py::test_token_clock",
            "theory/test_leaving_the_box.py::test_reduced_flow",
            "theory/test_leaving_the_box.py::test_sample_fast_slow_jumps",
            "theory/test_jump_fast_slow.py::test_leaving_the_box_is_a_status_with_the_time",
            "verify/test_manifold_gap.py::test_trajectories_that_leave_the_box_are_set_aside_and_said_so",
        ],
    ),
    # gap measurement
    23: (
        "fewer than three usable eps",
        [
            "verify/test_convergence.py::test_fewer_than_three_points_give_no_slope",
            "verify/test_manifold_gap.py::test_fewer_than_three_periods_are_inconclusive",
        ],
    ),
    24: (
        "unsorted and repeated periods",
        ["verify/test_manifold_gap.py::test_unsorted_and_repeated_periods_are_sorted_and_said_so"],
    ),
    25: (
        "a gap at the floor: marked, out of the fit, still shown",
        [
            "verify/test_convergence.py::test_floor_limited_means_within_ten_times_the_floor",
            "verify/test_manifold_gap.py::test_a_poor_optimiser_is_seen_at_its_floor_and_said_to_be_unconverged",
            "verify/test_manifold_gap.py::test_sampled_states_show_the_gap_where_sampling_allows_and_say_where_not",
            "verify/test_figures.py::test_a_row_at_the_floor_is_drawn_and_printed_but_not_fitted",
        ],
    ),
    26: (
        "local slopes that disagree",
        ["verify/test_convergence.py::test_local_slopes_that_disagree_give_no_slope"],
    ),
    27: (
        "an untrained φ_θ; φ_θ = p_st",
        [
            "verify/test_manifold_gap.py::test_mutant_an_untrained_phi_does_not_shrink_and_the_verdict_says_so",
            "verify/test_manifold_gap.py::test_phi_set_to_p_st_is_at_round_off",
        ],
    ),
    28: (
        "a fit that has not converged",
        [
            "verify/test_manifold_gap.py::test_a_poor_optimiser_is_seen_at_its_floor_and_said_to_be_unconverged",
            "verify/test_fits.py::test_lbfgs_descends_and_reports_that_it_stopped",
        ],
    ),
    # network and training
    29: (
        "P that is no positive integer, P > T, T not a multiple of P",
        [
            "network/test_config.py::test_what_is_refused",
            "network/test_config.py::test_block_size_need_not_be_a_multiple_of_the_period",
            "network/test_pooling.py::test_a_period_that_is_no_positive_integer_is_refused",
            "network/test_model.py::test_a_sequence_shorter_than_the_period_is_read_without_the_slow_path",
            "network/test_leak_check.py::test_no_logit_before_a_replaced_token_moves",
        ],
    ),
    30: (
        "a literal full slow path leaks",
        [
            "network/test_config.py::test_what_is_refused",
            "network/test_leak_check.py::test_full_attention_over_pooled_tokens_is_caught",
        ],
    ),
    31: (
        "mixed devices or dtypes; a batch of one",
        [
            "network/test_model.py::test_tokens_that_are_refused",
            "network/test_model.py::test_parts_in_different_precision_are_named",
            "network/test_model.py::test_blind_refuses_a_batch_of_one_and_the_others_do_not",
            "network/test_phi_theta.py::test_bad_inputs_are_named",
            "theory/test_flow_faults.py::test_mixed_devices_are_named",
            "theory/test_master_equation.py::test_mixed_dtypes_and_bad_generators_are_refused",
        ],
    ),
    32: (
        "a NaN loss",
        [
            "network/test_train.py::test_a_nan_loss_stops_with_step_and_batch_and_the_last_good_checkpoint",
            "network/test_train.py::test_a_gradient_that_overflows_under_a_finite_loss_is_seen",
        ],
    ),
    33: (
        "killed while writing; truncated, foreign or pickled files",
        [
            "network/test_checkpoint.py::test_a_kill_at_any_file_operation_leaves_a_whole_checkpoint",
            "network/test_checkpoint.py::test_a_damaged_file_is_refused_with_its_path",
            "network/test_checkpoint.py::test_a_pickle_payload_is_refused_and_never_run",
            "network/test_resume.py::test_sigkill_at_random_moments_changes_no_loss",
            "verify/test_manifold_gap_command.py::test_a_foreign_or_truncated_phi_file_is_refused_with_its_path",
        ],
    ),
    34: (
        "weights or configuration that do not fit",
        [
            "network/test_checkpoint.py::test_missing_extra_and_misshapen_weights_are_listed",
            "network/test_checkpoint.py::test_another_configuration_is_refused_with_the_difference",
            "network/test_model.py::test_weights_of_another_shape_are_refused_by_name",
        ],
    ),
    35: (
        "resumed equals uninterrupted",
        ["network/test_resume.py::test_stopped_and_resumed_equals_uninterrupted_bit_for_bit"],
    ),
    36: (
        "a corpus that is missing, empty, too short or not text",
        [
            "network/test_data.py::test_bad_corpora_are_refused_with_the_path",
            "network/test_data.py::test_missing_paths_and_copies_of_one_text_are_refused",
            "network/test_data.py::test_a_missing_data_package_names_the_command_that_installs_it",
            "network/test_data.py::test_a_split_shorter_than_a_window_is_refused_before_training",
            "network/test_train.py::test_what_cannot_be_trained_is_refused_before_training",
        ],
    ),
    37: (
        "a worker that dies",
        ["network/test_distributed.py::test_a_killed_worker_ends_the_run_with_an_error_and_a_whole_checkpoint"],
    ),
    38: (
        "a cuda checkpoint without a cuda device",
        ["network/test_checkpoint.py::test_a_cuda_checkpoint_loads_on_a_machine_without_one"],
    ),
    # command line, files and notebooks
    39: (
        "bad numbers, unknown names, abbreviated options",
        [
            "verify/test_manifold_gap_command.py::test_bad_usage_is_one_line_and_exit_code_2",
            "verify/test_ablation.py::test_usage_errors",
            "verify/test_runner.py::test_usage_errors",
            "network/test_train_command.py::test_usage_errors_are_one_line_and_code_2",
            "network/test_generate.py::test_the_command_refuses_in_one_line",
        ],
    ),
    40: (
        "--device cuda where there is none",
        [
            "verify/test_manifold_gap_command.py::test_cuda_where_there_is_none_is_an_error_and_never_a_silent_cpu_run",
            "network/test_train_command.py::test_usage_errors_are_one_line_and_code_2",
            "network/test_train.py::test_an_unknown_device_is_refused",
        ],
    ),
    41: (
        "--out that is not writable",
        [
            "verify/test_manifold_gap_command.py::"
            "test_an_out_that_is_not_writable_is_refused_before_anything_is_computed",
            "network/test_train_command.py::test_usage_errors_are_one_line_and_code_2",
        ],
    ),
    42: (
        "strict JSON, alone on stdout",
        [
            "verify/test_provenance.py::test_strict_json_has_no_nan_or_infinity",
            "verify/test_runner.py::test_json_has_its_keys_is_strict_and_repeats",
            "verify/test_manifold_gap.py::test_the_json_has_the_keys_of_the_design_and_no_nan",
            "verify/test_manifold_gap_command.py::test_json_alone_on_stdout_and_progress_on_stderr",
        ],
    ),
    43: (
        "Ctrl-C and closed pipes",
        [
            "verify/test_manifold_gap_interrupted.py::test_interrupted_keeps_what_is_finished_and_exits_130",
            "verify/test_manifold_gap_interrupted.py::test_a_real_ctrl_c_exits_130_without_a_traceback",
            "verify/test_manifold_gap_interrupted.py::test_a_closed_pipe_is_quiet",
            "verify/test_ablation.py::test_interrupted_or_on_a_cluster_that_loses_a_worker_the_json_is_the_same",
            "verify/test_runner.py::test_ctrl_c_exits_130_and_the_next_run_goes_on",
            "network/test_train_command.py::test_ctrl_c_saves_and_the_run_goes_on_as_if_nothing_had_been",
            "network/test_generate.py::test_interrupted_generation_prints_what_there_is",
            "verify/test_manifold_gap_interrupted.py::"
            "test_ctrl_c_before_the_periods_of_a_later_system_keeps_the_systems_that_ended",
        ],
    ),
    44: (
        "a claim that raises; no claim selected",
        [
            "verify/test_runner.py::test_a_claim_that_raises_is_an_error_and_the_others_run",
            "verify/test_runner.py::test_no_claim_is_no_run",
            "verify/test_runner.py::test_exit_codes",
            "verify/test_claim.py::test_a_broken_file_is_broken_alone",
            "verify/test_cells.py::test_a_cell_that_always_kills_its_worker_fails_alone",
            "verify/test_verify_command.py::test_a_claim_that_exits_does_not_decide_the_exit_code",
        ],
    ),
    45: (
        "one seed, one result",
        [
            "verify/test_manifold_gap.py::test_the_same_seed_gives_the_same_json_and_another_seed_other_points",
            "verify/test_runner.py::test_json_has_its_keys_is_strict_and_repeats",
            "verify/test_fits.py::test_the_same_seed_gives_the_same_phi_and_leaves_the_global_seed_alone",
            "theory/test_jump_process.py::test_one_seed_one_result",
        ],
    ),
    46: (
        "no git, no display, no network",
        [
            "verify/test_provenance.py::test_without_git_the_commit_is_unknown",
            "verify/test_manifold_gap_interrupted.py::test_it_runs_without_git_display_or_network",
        ],
    ),
    47: (
        "two runs into one folder",
        [
            "verify/test_manifold_gap_interrupted.py::test_two_runs_into_one_folder_leave_whole_files",
            "network/test_train.py::test_two_writers_cannot_share_a_run",
            "network/test_checkpoint.py::test_atomic_files_replace_and_clean_up",
            "network/test_data.py::test_two_runs_may_tokenise_at_once",
        ],
    ),
    48: (
        "a user's own system that fails",
        [
            "verify/test_manifold_gap_command.py::test_user_code_that_fails_is_named_with_its_file_and_cause",
            "verify/test_manifold_gap_command.py::test_a_user_file_that_does_not_import_is_named",
            "verify/test_manifold_gap_command.py::test_a_user_file_that_exits_does_not_decide_the_exit_code",
        ],
    ),
    49: (
        "transition matrices, counts and Laplacians given as a generator",
        [
            "theory/test_doors.py::test_each_hint_followed_to_the_letter_is_right",
            "theory/test_doors.py::test_from_row_convention_recognises_a_transition_matrix",
            "theory/test_doors.py::test_a_positive_laplacian_by_columns_and_one_in_the_right_convention_already",
            "theory/test_doors.py::test_a_doubly_stochastic_matrix_is_told_both_conventions",
            "theory/test_kinds.py::test_right_or_refused_with_the_remedy",
            "theory/test_kinds.py::test_arrays_of_other_libraries",
            "verify/test_user_code.py::test_what_is_no_generator_names_the_door_and_the_door_taken_is_right",
        ],
    ),
    50: (
        "sparse chains whose p spans more than float64",
        [
            "theory/test_sparse_chains.py::test_a_ladder_over_more_than_the_range_of_float64",
            "theory/test_sparse_chains.py::test_sixty_random_strips_against_a_banded_elimination",
            "theory/test_sparse_chains.py::test_a_bursty_gene_and_a_two_species_box",
            "theory/test_sparse_stationary.py::test_rates_beyond_the_range_of_float64_are_carried_by_exponents",
        ],
    ),
    51: (
        "sparse input where it is not taken",
        [
            "theory/test_kinds.py::test_right_or_refused_with_the_remedy",
            "theory/test_kinds.py::test_no_function_is_left_out",
            "theory/test_doors.py::test_what_numpy_would_misread_is_refused_by_name",
            "theory/test_sparse_stationary.py::test_an_elimination_that_does_not_fit_is_refused",
            "theory/test_sparse_chains.py::test_a_digraph_without_separators_costs_what_its_plan_says_before_the_work",
        ],
    ),
    52: (
        "several recurrent classes, and a question that has an answer",
        [
            "theory/test_absorption.py::test_where_p_is_not_unique_the_function_that_answers_is_named_and_answers",
            "theory/test_absorption.py::test_classes_and_absorption_against_rational_arithmetic",
            "theory/test_absorption.py::test_a_batch_of_classes_is_refused_with_the_way_out",
        ],
    ),
    53: (
        "a rate that is NaN, negative or 0/0",
        [
            "theory/test_doors.py::test_rates_that_are_none_are_named",
            "theory/test_flow_defects.py::test_a_rate_of_the_user_is_named_with_its_y",
            "theory/test_fast_slow.py::test_nan_in_a_of_y_is_named_with_its_y",
        ],
    ),
    54: (
        "an interval around the occupation of a transient state",
        [
            "theory/test_occupation.py::test_the_interval_of_a_transient_state_covers",
            "theory/test_occupation.py::test_the_interval_of_a_metastable_chain_is_conservative",
            "theory/test_occupation.py::test_without_a_start_transient_states_are_refused",
        ],
    ),
    55: (
        "y on a face that is invariant, and an exit between two steps",
        [
            "theory/test_flow_defects.py::test_an_invariant_face_is_not_left",
            "theory/test_flow_defects.py::test_an_epidemic_stays_in_its_box",
            "theory/test_flow_defects.py::test_a_short_excursion_between_nodes_is_found",
        ],
    ),
    56: (
        "throw=False, time_limit and max_steps, with every method",
        [
            "theory/test_flow_defects.py::test_limits_are_kept",
            "theory/test_flow_faults.py::test_step_limit_keeps_the_partial_trajectory",
            "theory/test_flow_faults.py::test_time_limit",
        ],
    ),
    57: (
        "a large t0, a tiny ε, a returned state as the next start",
        [
            "theory/test_flow_defects.py::test_time_is_counted_from_the_start",
            "theory/test_flow_defects.py::test_mass_is_kept_at_tiny_eps",
        ],
    ),
    58: (
        "functions that cut derivatives, use NumPy or change their arguments",
        [
            "theory/test_flow_defects.py::test_functions_that_change_their_arguments_are_named",
            "theory/test_flow_defects.py::test_functions_that_cut_derivatives_are_named",
        ],
    ),
    59: (
        "a fit that cannot represent the block mean",
        [
            "verify/test_no_wrong_theory_survives.py::test_a_fit_that_cannot_represent_the_block_mean_is_not_theorys_fault"
        ],
    ),
    60: (
        "weights of other people's networks in half precision or float32; a block without its mask",
        [
            "verify/test_pretrained.py::test_half_precision_and_quantised_weights_are_refused_and_float32_is_promoted",
            "verify/test_pretrained.py::test_a_block_of_transformers_alone_needs_its_mask_and_agrees_with_the_layer",
            "verify/test_pretrained.py::test_a_replay_is_what_the_model_computes",
        ],
    ),
    61: (
        "SIGTERM, and a disk that is full while something is saved",
        [
            "network/test_interrupted.py::test_sigterm_ends_any_command_as_ctrl_c_does",
            "network/test_interrupted.py::test_a_disk_that_takes_no_more_is_said_with_what_is_whole",
            "verify/test_manifold_gap_interrupted.py::test_a_full_disk_is_code_3_and_one_line",
        ],
    ),
    62: (
        "a folder with binary, empty or undecodable files",
        [
            "network/test_folders_of_text.py::test_all_that_is_no_text_is_listed_at_once_with_two_ways_out",
            "network/test_folders_of_text.py::test_the_summary_counts_what_is_there",
            "network/test_folders_of_text.py::test_two_kinds_of_text_and_a_lopsided_share_are_warned_of",
        ],
    ),
    63: (
        "an input shorter than a period",
        [
            "network/test_every_arm.py::test_the_coupling_alone_gives_zeros_to_what_is_shorter_than_a_period",
            "network/test_model.py::test_a_sequence_shorter_than_the_period_is_read_without_the_slow_path",
        ],
    ),
    64: (
        "another processor, other kernels, one thread or two: `make test-portable` runs what is marked `numerical`",
        [
            "test_portable.py::test_the_combinations_cover_every_kind_of_kernel",
            "test_portable.py::test_every_library_says_what_it_runs",
            "test_slopes.py::test_the_last_points_of_a_measured_sequence_are_bent_and_left_out",
        ],
    ),
}

PENDING: dict[int, str] = {}
LINES = 64


@cache
def functions(file: Path) -> dict[str, bool]:
    """The test functions of a file, and whether each is marked slow."""
    return {
        node.name: any("mark.slow" in ast.unparse(mark) for mark in node.decorator_list)
        for node in ast.parse(file.read_text()).body
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")
    }


@pytest.mark.parametrize("line", range(1, LINES + 1))
def test_every_line_is_tested_or_pending(line):
    assert (line in TESTS) != (line in PENDING), "a tested line is not pending, and one of the two it must be"
    if line in PENDING:
        assert PENDING[line]
        return
    words, nodes = TESTS[line]
    assert words and len(set(nodes)) == len(nodes)
    slow = []
    for node in nodes:
        name, _, function = node.partition("::")
        file = TESTS_FOLDER / name
        assert file.is_file(), f"{name} does not exist"
        assert function in functions(file), f"{name} has no {function}"
        slow.append(functions(file)[function])
    assert not all(slow), "the ordinary suite would not see it"


def test_the_catalogue_is_whole():
    assert set(TESTS) | set(PENDING) == set(range(1, LINES + 1))
