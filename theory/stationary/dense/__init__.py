"""p_st of dense generators: elimination without a subtraction (Grassmann, Taksar and Heyman), and its derivatives."""
